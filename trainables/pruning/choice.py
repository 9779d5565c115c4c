"""Which channels of a dependency group go."""

from __future__ import annotations

from collections.abc import Mapping

import torch_pruning as tp
from torch import Tensor

from raysearch.basics.failures import UserError
from raysearch.networks.attention.heads import Attention
from raysearch.networks.groups import channel_blocks, channel_group
from raysearch.search_spaces.pruning.channel_pruning import FROM_EXAMPLES, GRADIENTS, NNI
from raysearch.trainables.data.batches import Collate, Examples
from raysearch.trainables.masks.mask_loss import Loss
from raysearch.trainables.pruning.channel_search import search_channels
from raysearch.trainables.pruning.criteria import channel_scores
from raysearch.trainables.pruning.gradients import lent_gradients
from raysearch.trainables.pruning.heads import head_scores
from raysearch.trainables.pruning.nni_votes import nni_scores


def first_scores(
    graph: tp.DependencyGraph,
    kept: Mapping[str, int],
    heads: Mapping[str, Attention],
    criterion: str,
    examples: Examples | None,
    collate: Collate | None,
    loss: Loss,
) -> dict[str, Tensor]:
    """What is scored before anything is removed: by criteria that look at examples, or at all groups at once.

    Args:
        graph: torch-pruning's, of the whole model.
        kept: how many channels stay, by root layer.
        heads: attentions that lose heads, by the name of their group.
        criterion: of the plan.
        examples: for training.
        collate: makes a batch of a list of examples.
        loss: of outputs and targets.

    Returns:
        By group, scores of its heads or of the channels of one block, or a mask of the channels that stay.

    Raises:
        UserError: the criterion has nothing to go by: no examples, or no gradient of the loss.
    """
    if criterion in NNI:
        return nni_scores(graph, kept, criterion, examples, collate, loss)
    if criterion not in FROM_EXAMPLES:
        return {}
    if examples is None:
        raise UserError(f"criterion {criterion!r} looks at examples, and none are given")
    if criterion in GRADIENTS:
        with lent_gradients(graph.model, criterion, examples, collate, loss):
            found = {root: _scores(graph, root, criterion) for root in kept}
            return found | {name: head_scores(graph.model, a, criterion) for name, a in heads.items()}
    shares = {root: 1 - number / _width(graph, root) for root, number in kept.items()}
    return search_channels(graph.model, shares, criterion, examples, loss)


def least_channels(
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
    width = _width(graph, root)
    if kept >= width:
        return []
    blocks = channel_blocks(graph, root)
    size = width // blocks
    removed = size - -(-kept // blocks)
    if found is not None and len(found) == size:
        scores = found.float()
    else:
        scores = _scores(graph, root, "magnitude" if criterion in (*FROM_EXAMPLES, *NNI) else criterion)
    lowest = scores.argsort(stable=True)[:removed].tolist()
    return [block * size + i for block in range(blocks) for i in sorted(lowest)]


def _scores(graph: tp.DependencyGraph, root: str, criterion: str) -> Tensor:
    """The score of each channel of a root layer, of one block: those at one place of all blocks together."""
    width = _width(graph, root)
    group = channel_group(graph, root, list(range(width)))
    return channel_scores(group, criterion, width).view(channel_blocks(graph, root), -1).sum(0)


def _width(graph: tp.DependencyGraph, root: str) -> int:
    return int(graph.get_out_channels(graph.model.get_submodule(root)))
