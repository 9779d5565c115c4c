"""Which parts of a network a sweep may prune, and why it may not prune others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces.keys import belongs, part_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysearch.runs.conditions import Conditions


def prunable_parts(conditions: Conditions, parts: Sequence[str] | None) -> list[str]:
    """The parts to prune, each holding a group of layers whose channels can go; None: every such group.

    Raises:
        ValueError: no list of names, a part without such a group, or one inside another.
    """
    from raysearch.networks.groups import prunable_groups

    task, architecture = conditions.task, conditions.parent.get("architecture")
    model = task.build(task.decoded(architecture) if architecture else None)
    example_input = task.example_input(2)
    groups = list(prunable_groups(model, example_input))
    if parts is None:
        return groups
    if isinstance(parts, str) or not parts:
        raise UserError(f"sweep.parts is {parts!r}: give a list with at least one layer's name")
    for part in parts:
        outer = part_of(part.rpartition(".")[0], parts)
        if outer is not None:
            raise UserError(f"sweep.parts names {part!r}, which lies inside {outer!r}: name only one of them")
        if not any(belongs(layer, part) for layer in groups):
            reason = _reason(model, example_input, part, groups)
            raise UserError(f"sweep.parts names {part!r}, {reason}")
    return list(dict.fromkeys(parts))


def _reason(model: nn.Module, example_input: Tensor, part: str, groups: list[str]) -> str:
    """Why a part cannot be pruned."""
    modules = dict(model.named_modules())
    if part not in modules:
        known = [*groups, *(name for name, _ in model.named_children())]
        return f"which the model does not have; {did_you_mean(part, known)}"
    kind = type(modules[part]).__name__
    if next(modules[part].parameters(), None) is None:
        return f"a {kind} without weights: name layers such as {groups[0]!r}"
    why = _tied_to(model, example_input, part, groups)
    return f"a {kind} without channels of its own that can go: {why}"


def _tied_to(model: nn.Module, example_input: Tensor, part: str, groups: list[str]) -> str:
    """What the channels of a part without a group of its own belong to."""
    from raysearch.networks.groups import channel_group, take_apart

    graph, widths = take_apart(model, example_input)
    names = {module: name for name, module in model.named_modules()}
    for root in widths:
        led = channel_group(graph, root, [0])
        tied = [names.get(d.target.module, "") for d, _ in led if graph.is_out_channel_pruning_fn(d.handler)]
        if root in groups and any(belongs(name, part) for name in tied):
            return f"they go with those of {root!r}, which it follows or is added to: name that"
    if not any(belongs(root, part) for root in widths):
        return f"they reach the network's output, which keeps its shape: name layers such as {groups[0]!r}"
    return f"the network does not run without some of them: name layers such as {groups[0]!r}"
