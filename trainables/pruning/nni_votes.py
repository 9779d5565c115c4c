"""NNI's pruners as criteria: the masks that they give a group's layers are votes on its channels.

A pruner masks each layer for itself, and where layers are added the masks disagree. Here each layer that
makes the channels of a group has a vote on each of them, and torch-pruning removes those with the fewest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain, islice, repeat
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.basics.nni_compat import load_nni
from raysearch.networks import nests
from raysearch.networks.copying import copy_of
from raysearch.networks.groups import channel_blocks, channel_group, is_root
from raysearch.search_spaces.pruning.channel_pruning import NNI_TRAINED
from raysearch.trainables.data.batches import Batch, Collate, Examples, batches
from raysearch.trainables.masks.mask_loss import Loss
from raysearch.trainables.pruning.criteria import channel_scores

STEPS, _BATCH_SIZE, _LR = 32, 64, 1e-3
_WARM_UP, _TIMES = STEPS // 4, STEPS // 4

_CLASSES = {
    "nni_level": "LevelPruner",
    "nni_l1norm": "L1NormPruner",
    "nni_l2norm": "L2NormPruner",
    "nni_fpgm": "FPGMPruner",
    "nni_taylor": "TaylorPruner",
    "nni_slim": "SlimPruner",
    "nni_movement": "MovementPruner",
    "nni_linear": "LinearPruner",
    "nni_agp": "AGPPruner",
}


def nni_scores(
    graph: tp.DependencyGraph,
    kept: Mapping[str, int],
    criterion: str,
    examples: Examples | None,
    collate: Collate | None,
    loss: Loss,
) -> dict[str, Tensor]:
    """The score of each channel of some groups, or of one block where they have several; the lowest go first.

    It is the channel's rank by its votes: the mean, over the layers that make it, of the share of its weights
    that the pruner keeps. Channels with as many votes are ranked by magnitude.

    Args:
        graph: torch-pruning's, of the whole model, which is left as it is: a copy is wrapped and trained.
        kept: how many channels stay, by root layer; each layer of the group is masked by that share.
        criterion: one of NNI's.
        examples: for training; those that train look at 32 batches of 64, over and over where there are less.
        collate: makes a batch of a list of examples.
        loss: of outputs and targets.

    Returns:
        By root layer. A group that no layer makes with rows of its weights is left out.

    Raises:
        UserError: NNI is not installed, or a criterion that trains has no examples.
    """
    if criterion in NNI_TRAINED and examples is None:
        raise UserError(f"criterion {criterion!r} trains on examples, and none are given")
    makers = {root: _makers(graph, root) for root in kept}
    configs = [
        {"op_names": [name], "sparse_ratio": 1 - kept[root] / _width(graph, root)}
        for root, layers in makers.items()
        for name in layers
    ]
    if not configs:
        return {}
    masks = _masks(graph.model, criterion, configs, examples, collate, loss)
    return {
        root: _ranked(graph, root, torch.stack([masks[name][order] for name, order in layers.items()]))
        for root, layers in makers.items()
        if layers
    }


def _makers(graph: tp.DependencyGraph, root: str) -> dict[str, list[int]]:
    """The layers that make a group's channels, and which of their channels is each of the root's."""
    names = {module: name for name, module in graph.model.named_modules()}
    width = _width(graph, root)
    found = {}
    for dep, order in channel_group(graph, root, list(range(width))):
        layer = dep.target.module
        makes = graph.is_out_channel_pruning_fn(dep.handler) and is_root(layer, width, graph)
        if makes and layer in names and len(order) == width:
            found[names[layer]] = [int(i) for i in order]
    return found


def _ranked(graph: tp.DependencyGraph, root: str, votes: Tensor) -> Tensor:
    """Ranks, 0 for the first to go, of the channels of one block; votes (layers, channels)."""
    width, blocks = _width(graph, root), channel_blocks(graph, root)
    magnitudes = channel_scores(channel_group(graph, root, list(range(width))), "magnitude", width)
    by_size = magnitudes.view(blocks, -1).sum(0).argsort(stable=True)
    # The same votes in another order add up to another sum in the last digit.
    ours = votes.double().mean(0).view(blocks, -1).sum(0).round(decimals=9)
    order = by_size[ours[by_size].argsort(stable=True)]
    return torch.empty(len(order)).index_copy(0, order, torch.arange(len(order), dtype=torch.float))


def _masks(
    model: nn.Module,
    criterion: str,
    configs: list[dict[str, Any]],
    examples: Examples | None,
    collate: Collate | None,
    loss: Loss,
) -> dict[str, Tensor]:
    """By layer, the share of each output channel's weights that the pruner keeps, (channels,)."""
    network = copy_of(model).eval()  # dropout off, and batch norm as it is: batches may be small
    with torch.enable_grad():
        for parameter in network.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_()
        evaluator = None if examples is None else _evaluator(network, examples, collate, loss)
        _, masks = _compress(network, criterion, configs, evaluator)
    return {name: found["weight"].detach().flatten(1).float().mean(1).cpu() for name, found in masks.items()}


def _compress(network: nn.Module, criterion: str, configs: list[dict[str, Any]], evaluator: Any) -> Any:
    """What NNI's pruner gives: the wrapped network and its masks, by layer and parameter."""
    pruning = load_nni("nni.compression.pruning")
    pruner = getattr(pruning, _CLASSES[criterion])
    if criterion not in NNI_TRAINED:
        return pruner(network, configs).compress()
    if criterion == "nni_movement":
        made = pruner(network, configs, evaluator, warmup_step=_WARM_UP, cooldown_begin_step=STEPS)
        return made.compress(STEPS, None)
    if criterion in ("nni_linear", "nni_agp"):  # schedules, of another pruner
        inner = pruning.L1NormPruner(network, configs, evaluator)
        return pruner(inner, interval_steps=STEPS // _TIMES, total_times=_TIMES).compress(STEPS, None)
    return pruner(network, configs, evaluator, training_steps=STEPS).compress()


def _evaluator(network: nn.Module, examples: Examples, collate: Collate | None, loss: Loss) -> Any:
    """What NNI trains the network by."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    device = nests.device_of(network)

    def training_step(batch: Batch, model: nn.Module) -> Tensor:
        inputs, targets = nests.to_device(batch, device)
        return loss(nests.call(model, inputs), targets)

    def training(
        model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable[..., Tensor], *rest: Any
    ) -> None:
        _, steps, _ = rest  # a schedule of rates, steps, epochs
        rounds = (batches(examples, _BATCH_SIZE, generator, collate) for _ in repeat(None))
        for batch in islice(chain.from_iterable(rounds), steps):
            optimizer.zero_grad()
            step(batch, model).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    traced = load_nni("nni").trace(torch.optim.SGD)  # so that NNI can make it again for the wrapped network
    optimizer = traced(network.parameters(), lr=_LR, momentum=0.9)
    return load_nni("nni.compression").TorchEvaluator(training, optimizer, training_step)


def _width(graph: tp.DependencyGraph, root: str) -> int:
    return int(graph.get_out_channels(graph.model.get_submodule(root)))
