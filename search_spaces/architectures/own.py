"""Architectures of a user's own: whatever a function makes of a nested mapping of Tune domains.

What the function reads of a config is active, what it does not read is not. It is called with weights that
take no memory (torch's device "meta"), so that a config is decoded in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from raysearch.basics.failures import UserError, attempt
from raysearch.search_spaces.architectures.alternatives import resolved
from raysearch.search_spaces.architectures.reading import Recording, read_part
from raysearch.search_spaces.domains import Path
from raysearch.search_spaces.keys import belongs, part_of

if TYPE_CHECKING:
    from torch import nn

    from raysearch.networks.outline import Layer

Build = Callable[[dict[str, Any]], "nn.Module"]
LayerKind = tuple[str, str, bool]
"""A layer's name and class, and whether it is the network's last."""

_REMEMBERED = 2_000


@dataclass(frozen=True)
class OwnPlan:
    """A sampled architecture of the user's own.

    Args:
        config: what the function reads, in the form of the opened space.
        names: the parts that the network has, in its order.
        channels: output channels of the layers that may be pruned.
        exits: whether networks of its family may be left early.
    """

    config: Mapping[str, Any]
    names: tuple[str, ...] = ()
    channels: Mapping[str, int] = field(default_factory=dict)
    exits: bool = False

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

    def may_exit(self) -> bool:
        """Whether some network of the family may be left early; of this one only its outputs tell."""
        return self.exits

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
        sparse: those whose weights may become zero one by one.
        exits: whether a network that was tried gives ``Exits``.
    """

    space: Mapping[str, Any]
    build: Build
    given: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    whole: frozenset[LayerKind] = frozenset()
    pruned: tuple[str, ...] = ()
    sparse: tuple[str, ...] = ()
    exits: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is remembered beside them can be found again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def decode(self, config: Mapping[str, Any]) -> OwnPlan:
        """The plan of an opened config. Where the function fails, all of the config counts.

        It is the trial that reports what fails.
        """
        for read, plans in self._known_plans.items():
            plan = plans.get(_text(read_part(config, read)))
            if plan is not None:
                return plan
        found, plan = self._decode(config)
        if found is not None:
            if sum(map(len, self._known_plans.values())) >= _REMEMBERED:
                self._known_plans.clear()
            self._known_plans.setdefault(found, {})[_text(plan.config)] = plan
        return plan

    @cached_property
    def _known_plans(self) -> dict[frozenset[Path], dict[str, OwnPlan]]:
        """By what the function read, then by the values of that."""
        return {}

    def _decode(self, config: Mapping[str, Any]) -> tuple[frozenset[Path] | None, OwnPlan]:
        """What the function read, and the plan; None where all of the config counts."""
        read: set[Path] = set()
        given = resolved(config)
        try:
            layers = self.layers(Recording(given, read))
        except UserError:
            return None, OwnPlan(config, self.known, exits=self.exits)
        kept = read_part(config, read)
        whole = kept != config and not self._makes(layers, kept)
        channels = {
            name: layer.channels
            for (name, layer), kind in zip(layers.items(), kinds(layers), strict=True)
            if layer.channels > 1 and kind not in self.whole and part_of(name, self.exclude) is None
        }
        plan = OwnPlan(config if whole else kept, self.parts_of(layers), channels, self.exits)
        return (None if whole else frozenset(read)), plan

    def _makes(self, layers: Mapping[str, Layer], config: Mapping[str, Any]) -> bool:
        """Whether the function makes these layers of a config: it may have counted what there is to read."""
        try:
            return self.layers(resolved(config)) == layers
        except UserError:
            return False

    def layers(self, given: dict[str, Any]) -> dict[str, Layer]:
        """The layers of a network, without its weights.

        Raises:
            UserError: the function fails.
        """
        from raysearch.networks.outline import outline

        model = without_weights(self.build, given)
        return attempt(lambda: outline(model), "reading the model's layers")

    def parts_of(self, layers: Mapping[str, Layer]) -> tuple[str, ...]:
        """The parts of a network with something to quantise, in its order."""
        inside = [name for name, layer in layers.items() if layer.multiplies]
        parts = self.given or dict.fromkeys(name.partition(".")[0] for name in inside)
        return tuple(
            part
            for part in parts
            if part_of(part, self.exclude) is None and any(belongs(name, part) for name in inside)
        )


def _text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)


def without_weights(build: Build, given: dict[str, Any]) -> nn.Module:
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


def kinds(layers: Mapping[str, Layer]) -> Iterator[LayerKind]:
    """The kind of each layer."""
    last = next((name for name in reversed(list(layers)) if layers[name].channels), "")
    return ((name, layer.kind, name == last) for name, layer in layers.items())
