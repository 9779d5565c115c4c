"""Remove the channels that a plan says, and record which, so that a variant can be rebuilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch_pruning as tp
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.networks.copying import copy_of
from raysearch.networks.groups import (
    TIME_LIMIT_S,
    channel_blocks,
    channel_group,
    remove_channels,
    take_apart,
)
from raysearch.networks.nests import Nest
from raysearch.networks.running import check_runs
from raysearch.search_spaces.pruning.channel_pruning import (
    FROM_EXAMPLES,
    GRADIENTS,
    PruningPlan,
    kept_channels,
)
from raysearch.trainables.data.batches import Collate, Examples
from raysearch.trainables.masks.mask_loss import Loss
from raysearch.trainables.pruning.channel_search import search_channels
from raysearch.trainables.pruning.criteria import channel_scores, check_batch_norm
from raysearch.trainables.pruning.gradients import lent_gradients
from raysearch.trainables.task import cross_entropy

History = list[tuple[str, list[int]]]
"""For each removal in order: the group's root layer and the indices of its channels that went. Plain JSON."""


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
) -> History:
    """Remove channels in place, the least important of each dependency group first.

    Each group keeps ``kept_channels(width, ratio, multiple)`` of its root layer's channels, the ratio being
    that of the part the root belongs to; where the group has grouped convolutions, the next number that they
    divide. Weights that stay are not changed, and groups that reach the output are left alone.

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

    Returns:
        What was removed, for ``prune_like``.

    Raises:
        ValueError: torch-pruning cannot handle the model, naming the layer and the operator; or the
            criterion has nothing to go by: no examples, no gradient of the loss, no batch norm.
    """
    graph, widths = take_apart(model, example_input, time_limit_s, exclude)
    kept = {root: kept_channels(n, plan.ratio(root), plan.multiple) for root, n in widths.items()}
    shares = {root: 1 - kept[root] / n for root, n in widths.items() if kept[root] < n}
    found: dict[str, Tensor] = {}
    if plan.criterion in FROM_EXAMPLES and shares:
        if examples is None:
            raise UserError(f"criterion {plan.criterion!r} looks at examples, and none are given")
        if plan.criterion in GRADIENTS:
            with lent_gradients(model, plan.criterion, examples, collate, loss):
                found = {root: _scores(graph, root, plan.criterion) for root in shares}
        else:
            found = search_channels(model, shares, plan.criterion, examples, loss)
    if plan.criterion == "batch_norm_scale" and shares:
        check_batch_norm(model)
    history: History = []
    for root in shares:
        removed = _least_important(graph, root, kept[root], plan.criterion, found.get(root))
        if removed:
            remove_channels(graph, root, removed)
            history.append((root, removed))
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
    for root, channels in history:
        if root not in layers or max(channels) >= graph.get_out_channels(layers[root]):
            raise UserError(
                f"the pruning history is of another model: no channel {max(channels)} in '{root}'"
            )
        remove_channels(graph, root, list(channels))
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


def _least_important(
    graph: tp.DependencyGraph, root: str, kept: int, criterion: str, found: Tensor | None
) -> list[int]:
    """The channels of a root layer to remove so that ``kept`` stay, ascending; the lowest scores go.

    Args:
        graph: torch-pruning's.
        root: the root layer's name.
        kept: how many channels stay.
        criterion: what scores are by where none were found.
        found: scores, or a mask of what stays, of the channels of one block.
    """
    # A group may have lost channels already, through another that shares layers with it.
    width = graph.get_out_channels(graph.model.get_submodule(root))
    if kept >= width:
        return []
    blocks = channel_blocks(graph, root)
    size = width // blocks
    removed = size - -(-kept // blocks)
    if found is not None and len(found) == size:
        scores = found.float()
    else:
        scores = _scores(graph, root, "magnitude" if criterion in FROM_EXAMPLES else criterion)
    lowest = scores.argsort(stable=True)[:removed].tolist()
    return [block * size + i for block in range(blocks) for i in sorted(lowest)]


def _scores(graph: tp.DependencyGraph, root: str, criterion: str) -> Tensor:
    """The score of each channel of a root layer, of one block: those at one place of all blocks together."""
    width = graph.get_out_channels(graph.model.get_submodule(root))
    group = channel_group(graph, root, list(range(width)))
    return channel_scores(group, criterion, width).view(channel_blocks(graph, root), -1).sum(0)
