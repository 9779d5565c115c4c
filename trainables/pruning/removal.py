"""Remove the channels that a plan says, and record which, so that a variant can be rebuilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch_pruning as tp
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.basics.parts import is_heads
from raysearch.basics.spelling import did_you_mean
from raysearch.networks.attention.heads import Attention, attentions, remove_heads
from raysearch.networks.attention.trial import sound_heads
from raysearch.networks.copying import copy_of
from raysearch.networks.groups import (
    TIME_LIMIT_S,
    channel_blocks,
    remove_channels,
    take_apart,
    without_heads,
)
from raysearch.networks.nests import Nest
from raysearch.networks.running import check_runs
from raysearch.search_spaces.pruning.channel_pruning import PruningPlan, kept_channels
from raysearch.trainables.data.batches import Collate, Examples
from raysearch.trainables.masks.mask_loss import Loss
from raysearch.trainables.pruning.choice import first_scores, least_channels
from raysearch.trainables.pruning.heads import head_scores, least_heads
from raysearch.trainables.task import cross_entropy

History = list[tuple[str, list[int]]]
"""For each removal in order: the group's root layer and the indices of its channels that went. Plain JSON.

Attentions' heads come last, under the names of their groups.
"""


def prune(
    model: nn.Module,
    example_input: Nest,
    plan: PruningPlan,
    time_limit_s: float = TIME_LIMIT_S,
    *,
    exclude: Sequence[str] = (),
    examples: Examples | None = None,
    collate: Collate | None = None,
    loss: Loss = cross_entropy,
    originally: Mapping[str, int] | None = None,
    with_heads: bool = True,
) -> History:
    """Remove channels in place, the least important of each dependency group first.

    Each group keeps ``kept_channels(width, ratio, multiple)`` of its root layer's channels, the ratio being
    that of the part the root belongs to; where the group has grouped convolutions, the next number that they
    divide; and attentions keep so many whole heads. Weights that stay are not changed, and groups that reach
    the output are left alone.

    Scores by gradients are all those of the whole network, taken once. Other scores are taken group by group,
    of the weights that are left by then.

    Args:
        model: pruned in place; train mode and gradients are left as they are.
        example_input: a batch for the model.
        plan: ratios, criterion and multiple.
        time_limit_s: how long taking the model apart may last.
        exclude: layers, or parts with all their layers, that keep their output channels.
        examples: for training; what the criteria that search or take gradients look at, and only they.
        collate: makes a batch of a list of examples.
        loss: of outputs and targets; what those criteria keep low.
        originally: the channels and heads of groups that have lost some already; ratios are of these.
        with_heads: whether heads go too. A network without some of them cannot be taken apart once more:
            torch-pruning hangs on what is left of its attentions.

    Returns:
        What was removed, for ``prune_like``.

    Raises:
        ValueError: torch-pruning cannot handle the model, naming the layer and the operator; or the
            criterion has nothing to go by: no examples, or no gradient of the loss.
    """
    graph, channels, heads = _groups(model, example_input, time_limit_s, exclude)
    whole = {**channels, **{name: a.count for name, a in heads.items()}, **(originally or {})}
    kept = {root: kept_channels(whole[root], plan.ratio(root), plan.multiple) for root in channels}
    fewer = {root: kept[root] for root, n in channels.items() if kept[root] < n}
    left = {n: kept_channels(whole[n], plan.ratio(n), 1) for n in heads}
    shorter = {n: attention for n, attention in heads.items() if with_heads and left[n] < attention.count}
    if not (fewer or shorter):
        return []
    found = first_scores(graph, fewer, shorter, plan.criterion, examples, collate, loss)
    history: History = []
    for root, number in fewer.items():
        removed = least_channels(graph, root, number, plan.criterion, found.get(root))
        if removed:
            remove_channels(graph, root, removed)
            history.append((root, removed))
    check_runs(model, example_input)
    if shorter:
        fewest = {name: left[name] for name in shorter}
        history += _shorten(model, example_input, fewest, plan.criterion, found)
    return history


def _groups(
    model: nn.Module, example_input: Nest, time_limit_s: float, exclude: Sequence[str]
) -> tuple[tp.DependencyGraph, dict[str, int], dict[str, Attention]]:
    graph, channels = take_apart(model, example_input, time_limit_s, exclude)
    heads = sound_heads(model, example_input, attentions(model, example_input, exclude))
    return graph, without_heads(channels, heads), heads


def group_widths(model: nn.Module, example_input: Nest, exclude: Sequence[str] = ()) -> dict[str, int]:
    """The channels of each group by its root layer, and the heads of each attention by its name.

    Raises:
        ValueError: torch-pruning cannot handle the model.
    """
    _, channels, heads = _groups(model, example_input, TIME_LIMIT_S, exclude)
    return {**channels, **{name: attention.count for name, attention in heads.items()}}


def _shorten(
    model: nn.Module,
    example_input: Nest,
    left: Mapping[str, int],
    criterion: str,
    found: Mapping[str, Tensor],
) -> History:
    """Remove heads down to these numbers, by the scores that were found or those of what is left."""
    history: History = []
    for name, attention in attentions(model, example_input).items():
        if name in left:
            scores = found[name] if name in found else head_scores(model, attention, criterion)
            history.append((name, least_heads(scores, left[name])))
            remove_heads(model, attention, history[-1][1])
    check_runs(model, example_input)
    return history


def prune_like(
    model: nn.Module, example_input: Nest, history: History, time_limit_s: float = TIME_LIMIT_S
) -> nn.Module:
    """Remove exactly the channels that ``prune`` removed from a model of the same structure.

    Args:
        model: unpruned, changed in place.
        example_input: a batch for the model.
        history: what ``prune`` returned, also after a round trip through JSON.
        time_limit_s: how long taking the model apart may last.

    Returns:
        The same model.

    Raises:
        ValueError: the history is of another model, or torch-pruning cannot handle this one.
    """
    if not history:
        return model
    graph, _ = take_apart(model, example_input, time_limit_s)
    layers = dict(model.named_modules())
    for root, channels in (entry for entry in history if not is_heads(entry[0])):
        if root not in layers or max(channels) >= graph.get_out_channels(layers[root]):
            raise UserError(
                f"the pruning history is of another model: no channel {max(channels)} in '{root}'"
            )
        remove_channels(graph, root, list(channels))
    shorter = {name: heads for name, heads in history if is_heads(name)}
    found = attentions(model, example_input) if shorter else {}
    for name, heads in shorter.items():
        if name not in found or max(heads) >= found[name].count:
            raise UserError(f"the pruning history is of another model: no head {max(heads)} in '{name}'")
        remove_heads(model, found[name], heads)
    check_runs(model, example_input)
    return model


def remove_masked(
    model: nn.Module,
    example_input: Nest,
    masks: Mapping[str, Tensor],
    time_limit_s: float = TIME_LIMIT_S,
) -> nn.Module:
    """A copy of a model without the channels that masks drop.

    Args:
        model: unpruned; it is not changed.
        example_input: a batch for the model.
        masks: by root layer, True for the channels to keep, (channels,), or for those of one block where the
            group has grouped convolutions, as ``search_masks(..., channels=True)`` finds them.
        time_limit_s: how long taking the model apart may last.

    Raises:
        ValueError: a layer that is no root of a group, a mask of another shape or that keeps nothing, or a
            model that torch-pruning cannot handle.
    """
    network = copy_of(model)
    graph, widths = take_apart(network, example_input, time_limit_s)
    for root, mask in masks.items():
        if root not in widths:
            raise UserError(f"no channels are removed by a mask of {root!r}; {did_you_mean(root, widths)}")
        size = widths[root] // channel_blocks(graph, root)
        if tuple(mask.shape) != (size,) or not mask.any():
            raise UserError(
                f"the mask of {root!r} has shape {tuple(mask.shape)} and keeps {int(mask.sum())}: it must "
                f"have shape ({size},) and keep one channel or more"
            )
        dropped = (~mask.bool()).nonzero().flatten().tolist()
        if dropped:
            remove_channels(
                graph, root, [start + i for start in range(0, widths[root], size) for i in dropped]
            )
    check_runs(network, example_input)
    return network
