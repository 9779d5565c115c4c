"""Trying a user's function on a space before a run: what it makes, and what can be pruned of that."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from raysearch.basics.failures import UserError, attempt
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces import domains
from raysearch.search_spaces.architectures.alternatives import resolved
from raysearch.search_spaces.architectures.own import Build, LayerKind, OwnFamily, kinds, without_weights
from raysearch.search_spaces.keys import belongs, part_of

if TYPE_CHECKING:
    from raysearch.networks.nests import Nest
    from raysearch.networks.outline import Layer

_TAKEN_APART = 8  # networks with layers that those before do not have, at most
_DRAWS = 16
_RUN_S = (
    10.0  # for how long networks are run that tell their outputs without, the ends of domains before draws
)


def own_family(
    space: Mapping[str, Any],
    build: Build,
    *,
    parts: Sequence[str] = (),
    exclude: Sequence[str] = (),
    example_input: Nest | None = None,
    pruned: bool = False,
) -> OwnFamily:
    """Try a user's function on the middle of its space, on the ends of each domain, and on some draws.

    Args:
        space: opened.
        build: the function.
        parts: that the user names.
        exclude: layers, or parts with all their layers, that are neither pruned nor quantised.
        example_input: a batch for the networks; without one none is run.
        pruned: whether they are taken apart, to see what can be pruned.

    Raises:
        UserError: the function fails on the middle, makes no module, or makes another one of the same config;
            the network of the middle does not run; no network has a part that is named; or taking one apart
            takes too long.
    """
    family = OwnFamily(space, build, tuple(parts), tuple(exclude))
    middle, *others = _samples(space)
    layers = [_checked(family, resolved(middle))]
    shapes, exits = _run(family, middle, example_input)
    failures, until = [], time.monotonic() + _RUN_S
    for config in others:
        told = _outputs_without_values(family, config, example_input)
        try:
            layers.append(family.layers(resolved(config)))
            if told is None or time.monotonic() < until:
                ran = _run(family, config, example_input)
                told = told or ran  # the clock decides what is run, never what is found
        except UserError as error:
            failures.append(str(error))
        else:
            if told.shapes != shapes:
                found = f"gives outputs of shape {told.shapes}, and the middle {shapes}"
                failures.append(f"{resolved(config)} {found}")
        exits = exits or (told is not None and told.left_early)
    if failures:
        warnings.warn(
            f"some architectures do not work, or not alike ({len(failures)} of {len(others)} that were "
            f"tried): {failures[0]}",
            stacklevel=2,
        )
    every = {name for each in layers for name in each}
    for part in parts:
        if not any(belongs(name, part) for name in every):
            known = dict.fromkeys(name.partition(".")[0] for name in every)
            raise UserError(f"parts has {part!r}, which no layer is in; {did_you_mean(str(part), known)}")
    _warn_of_unread(family, [middle, *others])
    family = replace(family, known=_joined(map(family.parts_of, layers)), exits=exits)
    sparse = {name for each in layers for name, layer in each.items() if layer.is_sparse}
    family = replace(
        family, sparse=tuple(p for p in family.known if any(belongs(name, p) for name in sparse))
    )
    if example_input is None or not pruned:
        return family
    family = replace(family, whole=_not_pruned(family, [middle, *others], example_input))
    prunable = {name for config in [middle, *others] for name in family.decode(config).channels}
    # Where parts of parts are named, a layer counts for the innermost.
    losing = {part_of(name, family.known) for name in prunable}
    return replace(family, pruned=tuple(part for part in family.known if part in losing))


class _Outputs(NamedTuple):
    """What a network gives: the shapes at its end, without the batch, and whether it may be left early."""

    shapes: list[tuple[int, ...]]
    left_early: bool


def _run(family: OwnFamily, config: dict[str, Any], example_input: Nest | None) -> _Outputs:
    """The outputs of a network; none without an input.

    Raises:
        UserError: it does not run.
    """
    if example_input is None:
        return _Outputs([], False)
    import torch

    from raysearch.networks import nests
    from raysearch.networks.running import check_runs

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = attempt(lambda: family.build(resolved(config)), f"making the model of {resolved(config)}")
        check_runs(model, example_input)
        return _read(nests.call(model.eval(), example_input))


def _outputs_without_values(
    family: OwnFamily, config: dict[str, Any], example_input: Nest | None
) -> _Outputs | None:
    """The same in milliseconds, on torch's device "meta"; None where the network does not run there.

    It does not where it fails, or reads values of tensors.
    """
    if example_input is None:
        return _Outputs([], False)
    import torch

    from raysearch.networks import nests

    try:
        model = without_weights(family.build, resolved(config)).to("meta").eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device("meta"):
            return _read(nests.call(model, nests.to_device(example_input, "meta")))
    except Exception:  # whatever it is, running the network tells
        return None


def _read(outputs: Nest) -> _Outputs:
    from raysearch.networks import nests
    from raysearch.networks.exits import Exits

    exits = isinstance(outputs, Exits)
    ends = nests.tensors(outputs.last if exits else outputs)
    return _Outputs([tuple(tensor.shape[1:]) for tensor in ends], exits)


def _warn_of_unread(family: OwnFamily, configs: Iterable[dict[str, Any]]) -> None:
    """Say what no network is made by: a name that is misspelt on one side has no effect."""
    plans = [family.decode(config) for config in configs]
    unread = ["/".join(p) for p in domains.read(family.space) if not any(plan.reads(p) for plan in plans)]
    if unread:
        warnings.warn(
            f"the model's function reads nothing of architecture/{', architecture/'.join(unread)}, which "
            "therefore has no effect",
            stacklevel=3,
        )


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

    made = [without_weights(family.build, resolved(config)) for _ in range(2)]
    if made[0] is made[1]:
        raise UserError("the model's function gives the same module twice: let it make a fresh one each time")
    names = [[(name, type(m).__qualname__) for name, m in model.named_modules()] for model in made]
    first, second = attempt(lambda: [outline(model) for model in made], "reading the model's layers")
    if first != second or names[0] != names[1]:
        other = next((n for n in [*first, *second] if first.get(n) != second.get(n)), "a layer")
        raise UserError(
            f"the model's function makes another network of the same architecture {config}: {other} differs; "
            "let it go by the architecture alone"
        )
    return first


def _not_pruned(
    family: OwnFamily, configs: Iterable[dict[str, Any]], example_input: Nest
) -> frozenset[LayerKind]:
    """Layers that lose no channels in the networks that are taken apart: those with layers of a new kind.

    Raises:
        TimeLimitExceeded: to take one apart takes too long.
    """
    from raysearch.networks.groups import CannotPrune, prunable_groups
    from raysearch.networks.running import TimeLimitExceeded

    seen: set[LayerKind] = set()
    pruned: set[LayerKind] = set()
    taken = 0
    for config in configs:
        try:
            layers = family.layers(resolved(config))
            own = set(kinds(layers))
            if taken == _TAKEN_APART or own <= seen:
                continue
            model = family.build(resolved(config))
            roots = prunable_groups(model, example_input, exclude=family.exclude)
        except CannotPrune:
            roots = {}
        except TimeLimitExceeded:
            raise  # passed over, as on a busy machine, it would leave other layers
        except Exception:
            if not taken:
                raise
            continue  # its trial reports it
        taken += 1
        seen |= own
        pruned |= {kind for kind in own if kind[0] in roots}
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
