"""Architectures of a user's own: whatever a function makes of a nested mapping of Tune domains.

What the function reads of a config is active, what it does not read is not. It is called with weights that
take no memory (torch's device "meta"), so that a config is decoded in milliseconds.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from raysearch.basics.failures import UserError, attempt
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces import domains
from raysearch.search_spaces.architectures.alternatives import resolved
from raysearch.search_spaces.architectures.reading import Recording, read_part
from raysearch.search_spaces.domains import Path
from raysearch.search_spaces.keys import belongs, part_of

if TYPE_CHECKING:
    from torch import nn

    from raysearch.networks.nests import Nest
    from raysearch.networks.outline import Layer

Build = Callable[[dict[str, Any]], "nn.Module"]
LayerKind = tuple[str, str, bool]
"""A layer's name and class, and whether it is the network's last."""

_REMEMBERED = 2_000
_TAKEN_APART = 8  # networks with layers that those before do not have, at most
_DRAWS = 16


@dataclass(frozen=True)
class OwnPlan:
    """A sampled architecture of the user's own.

    Args:
        config: what the function reads, in the form of the opened space.
        names: the parts that the network has, in its order.
        channels: output channels of the layers that may be pruned.
    """

    config: Mapping[str, Any]
    names: tuple[str, ...] = ()
    channels: Mapping[str, int] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """What the user's function is given."""
        found: dict[str, Any] = resolved(self.config)
        return found

    def parts(self) -> tuple[str, ...]:
        """The parts that the network has."""
        return self.names

    def widths(self) -> Mapping[str, int]:
        """The output channels of layers that may be pruned."""
        return self.channels

    def known_parts(self) -> tuple[str, ...]:
        """The parts that the network has: of others only its family knows."""
        return self.names

    def pruned_parts(self) -> tuple[str, ...]:
        """The parts that the network has: what can be pruned of them only its family knows."""
        return self.names

    def reads(self, path: Path) -> bool:
        """Whether the function reads the value at a path."""
        node: Any = self.config
        for key in path:
            if not isinstance(node, Mapping) or key not in node:
                return False
            node = node[key]
        return True

    def encode(self) -> dict[str, Any]:
        """The canonical config: what the function reads."""
        return dict(self.config)

    def enlarged(self, factor: int) -> OwnPlan:
        """Not possible: which of its values are widths, only the function knows.

        Raises:
            UserError: always.
        """
        raise UserError("teacher 'larger' needs an architecture of raysearch's own: choose 'parent'")


@dataclass(frozen=True)
class OwnFamily:
    """The networks that a user's function makes of an architecture space; make one with ``own_family``.

    Args:
        space: of the architecture, its choices among alternatives opened.
        build: makes a fresh network of a config.
        given: parts that the user names; empty: the top-level children with weights.
        exclude: layers, or parts with all their layers, that are neither pruned nor quantised.
        known: every part that its networks can have, as far as they were tried.
        whole: layers that were found not to lose channels.
        pruned: those of the known parts from which channels can go.
    """

    space: Mapping[str, Any]
    build: Build
    given: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    whole: frozenset[LayerKind] = frozenset()
    pruned: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is remembered beside them can be found again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def decode(self, config: Mapping[str, Any]) -> OwnPlan:
        """The plan of an opened config. Where the function fails, all of the config counts.

        It is the trial that reports what fails.
        """
        text = json.dumps(config, sort_keys=True)
        if text not in self._plans:
            if len(self._plans) >= _REMEMBERED:
                del self._plans[next(iter(self._plans))]
            self._plans[text] = self._decode(config)
        return self._plans[text]

    @cached_property
    def _plans(self) -> dict[str, OwnPlan]:
        return {}

    def _decode(self, config: Mapping[str, Any]) -> OwnPlan:
        read: set[Path] = set()
        try:
            layers = self.layers(Recording(resolved(config), read))
        except UserError:
            return OwnPlan(config, self.known)
        channels = {
            name: layer.channels
            for (name, layer), kind in zip(layers.items(), _kinds(layers), strict=True)
            if layer.channels > 1 and kind not in self.whole and part_of(name, self.exclude) is None
        }
        return OwnPlan(read_part(config, read), self.parts_of(layers), channels)

    def layers(self, given: dict[str, Any]) -> dict[str, Layer]:
        """The layers of a network, without its weights.

        Raises:
            UserError: the function fails.
        """
        from raysearch.networks.outline import outline

        return outline(_without_weights(self.build, given))

    def parts_of(self, layers: Mapping[str, Layer]) -> tuple[str, ...]:
        """The parts of a network with something to quantise, in its order."""
        inside = [name for name, layer in layers.items() if layer.multiplies]
        parts = self.given or dict.fromkeys(name.partition(".")[0] for name in inside)
        return tuple(
            part
            for part in parts
            if part_of(part, self.exclude) is None and any(belongs(name, part) for name in inside)
        )


def own_family(
    space: Mapping[str, Any],
    build: Build,
    *,
    parts: Sequence[str] = (),
    exclude: Sequence[str] = (),
    example_input: Nest | None = None,
) -> OwnFamily:
    """Try a user's function on the middle of its space, on the ends of each domain, and on some draws.

    Args:
        space: opened.
        build: the function.
        parts: that the user names.
        exclude: layers, or parts with all their layers, that are neither pruned nor quantised.
        example_input: a batch for the networks, which are then taken apart to see what can be pruned.

    Raises:
        UserError: the function fails on the middle, makes no module, or makes another one of the same config;
            or no network has a part that is named.
    """
    family = OwnFamily(space, build, tuple(parts), tuple(exclude))
    middle, *others = _samples(space)
    layers = [_checked(family, resolved(middle))]
    for config in others:
        try:
            layers.append(family.layers(resolved(config)))
        except UserError as error:
            warnings.warn(f"trials of such an architecture will fail: {error}", stacklevel=2)
    every = {name for each in layers for name in each}
    for part in parts:
        if not any(belongs(name, part) for name in every):
            known = dict.fromkeys(name.partition(".")[0] for name in every)
            raise UserError(f"parts has {part!r}, which no layer is in; {did_you_mean(str(part), known)}")
    family = replace(family, known=_joined(map(family.parts_of, layers)))
    if example_input is None:
        return family
    family = replace(family, whole=_not_pruned(family, [middle, *others], example_input))
    prunable = {name for config in [middle, *others] for name in family.decode(config).channels}
    # Where parts of parts are named, a layer counts for the innermost.
    pruned = {part_of(name, family.known) for name in prunable}
    return replace(family, pruned=tuple(part for part in family.known if part in pruned))


def _samples(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The middle of the space first; then it with each domain at each of its ends, and some random draws."""
    import numpy as np

    searched, fixed = domains.read(space), domains.constants(space)
    middle = {path: values.middle() for path, values in searched.items()}
    found = [middle]
    found += [{**middle, path: end} for path, values in searched.items() for end in values.ends()]
    rng = np.random.default_rng(0)
    for _ in range(_DRAWS if searched else 0):
        ends = {path: values.ends() for path, values in searched.items()}
        found.append({path: each[rng.integers(len(each))] for path, each in ends.items()})
    return [domains.merged(fixed, domains.nested(flat)) for flat in found]


def _checked(family: OwnFamily, config: dict[str, Any]) -> dict[str, Layer]:
    """The layers of a network that is made twice.

    Raises:
        UserError: the function fails, or makes another network the second time.
    """
    from raysearch.networks.outline import outline

    made = [_without_weights(family.build, resolved(config)) for _ in range(2)]
    if made[0] is made[1]:
        raise UserError("the model's function gives the same module twice: let it make a fresh one each time")
    first, second = map(outline, made)
    if first != second:
        other = next(
            (n for n in [*first, *second] if first.get(n) != second.get(n)), "the order of its layers"
        )
        raise UserError(
            f"the model's function makes another network of the same architecture {config}: {other} differs; "
            "let it go by the architecture alone"
        )
    return first


def _without_weights(build: Build, given: dict[str, Any]) -> nn.Module:
    """What the function makes, on the device "meta", or on the CPU where it reads values of tensors."""
    import torch
    from torch import nn

    def made() -> Any:
        with torch.random.fork_rng(devices=[]):
            try:
                with torch.device("meta"):
                    return build(given)
            except Exception:
                return build(given)

    model = attempt(made, f"making the model of {given!r}")
    if not isinstance(model, nn.Module):
        raise UserError(f"the model's function gives a {type(model).__name__}: let it give a torch module")
    return model


def _kinds(layers: Mapping[str, Layer]) -> Iterator[LayerKind]:
    last = next((name for name in reversed(list(layers)) if layers[name].channels), "")
    return ((name, layer.kind, name == last) for name, layer in layers.items())


def _not_pruned(
    family: OwnFamily, configs: Iterable[dict[str, Any]], example_input: Nest
) -> frozenset[LayerKind]:
    """Layers that lose no channels in the networks that are taken apart: those with layers of a new kind."""
    from raysearch.networks.groups import CannotPrune, prunable_groups

    seen: set[LayerKind] = set()
    pruned: set[LayerKind] = set()
    taken = 0
    for config in configs:
        try:
            layers = family.layers(resolved(config))
            kinds = set(_kinds(layers))
            if taken == _TAKEN_APART or kinds <= seen:
                continue
            model = family.build(resolved(config))
            roots = prunable_groups(model, example_input, exclude=family.exclude)
        except CannotPrune:
            roots = {}
        except Exception:
            if not taken:
                raise
            continue  # its trial reports it
        taken += 1
        seen |= kinds
        pruned |= {kind for kind in kinds if kind[0] in roots}
    return frozenset(seen - pruned)


def _joined(orders: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """One order of all names: a new one stands before the next that is known."""
    found: list[str] = []
    for order in orders:
        place = len(found)
        for name in reversed(order):
            if name in found:
                place = found.index(name)
            else:
                found.insert(place, name)
    return tuple(found)
