"""Which layers of a model can be pruned and which can be quantised.

Channels are removed by torch-pruning (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023).
What can vary there is not a layer but a *dependency group*: layers whose channels have to go together, such
as all that are added by a skip connection.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from raysearch.search_spaces.tracing import named_failure, within_time_limit

TIME_LIMIT_S = 60.0
_ROOTS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def quantizable_layers(model: nn.Module) -> tuple[str, ...]:
    """The names of the convolutions and linear layers, in the model's order."""
    return tuple(name for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


def prunable_groups(
    model: nn.Module, example_input: Tensor, time_limit_s: float = TIME_LIMIT_S
) -> dict[str, int]:
    """The model's dependency groups: {root layer's name: its output channels}, in the model's order.

    The root is the first layer of the group. Groups that reach the model's output are left out. The model is
    not changed; half of every group is removed from a copy, to see that the rest still runs.

    Args:
        model: any module; its mode and gradients are left as they are.
        example_input: a batch that the model takes, shape (n, ...).
        time_limit_s: how long taking the model apart may last.

    Raises:
        ValueError: torch-pruning cannot handle the model, naming the layer and the operator.
    """
    trial = copy.deepcopy(model)
    graph = dependency_graph(trial, example_input, time_limit_s)
    groups = {root: graph.get_out_channels(trial.get_submodule(root)) for root in group_roots(graph)}
    for root, channels in groups.items():
        remove_channels(graph, root, list(range(channels // 2)))
    check_runs(trial, example_input)
    return groups


def dependency_graph(
    model: nn.Module, example_input: Tensor, time_limit_s: float = TIME_LIMIT_S
) -> tp.DependencyGraph:
    """Torch-pruning's dependency graph of a model, built under a time limit.

    Raises:
        ValueError: the building failed or took too long, naming the layer and the operator.
    """
    modes = {m: m.training for m in model.modules()}
    frozen = [p for p in model.parameters() if not p.requires_grad]
    first = next(model.parameters(), None)
    x = example_input if first is None else example_input.to(first.device)

    def build() -> tp.DependencyGraph:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            return tp.DependencyGraph().build_dependency(model, x, verbose=False)

    for p in frozen:  # the graph is read from autograd's
        p.requires_grad_(True)
    try:
        check_runs(model.eval(), x)
        return within_time_limit(build, time_limit_s, "torch-pruning, taking the model apart,")
    finally:
        for p in frozen:
            p.requires_grad_(False)
        for m, mode in modes.items():
            m.training = mode


def group_roots(graph: tp.DependencyGraph) -> tuple[str, ...]:
    """The root layers of the groups that can be pruned, in the model's order."""
    order = {m: i for i, m in enumerate(graph.model.modules())}
    names = {m: name for name, m in graph.model.named_modules()}
    roots: dict[str, int] = {}
    for group in graph.get_all_groups(root_module_types=list(_ROOTS)):
        pruned = [d for d, _ in group if graph.is_out_channel_pruning_fn(d.handler)]
        if any(not d.target.outputs for d in pruned):
            continue  # it would change the shape of the model's output
        width = len(group[0].idxs)
        candidates = [d.target.module for d in pruned if _is_root(d.target.module, width, graph)]
        root = min(candidates, key=lambda m: order[m], default=group[0].dep.target.module)
        if width > 1:
            roots[names[root]] = order[root]
    return tuple(sorted(roots, key=lambda name: roots[name]))


def _is_root(module: Any, width: int, graph: tp.DependencyGraph) -> bool:
    depthwise = getattr(module, "groups", 1) == width and width > 1
    return isinstance(module, _ROOTS) and not depthwise and graph.get_out_channels(module) == width


def channel_group(graph: tp.DependencyGraph, root: str, channels: list[int]) -> Any:
    """Torch-pruning's group of everything that goes when these channels of a root layer go."""
    layer = graph.model.get_submodule(root)
    return graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, channels)


def remove_channels(graph: tp.DependencyGraph, root: str, channels: list[int]) -> None:
    """Remove channels of a root layer, with all that depends on them, and record it in the graph's history.

    Raises:
        ValueError: a layer would be left without channels, or torch-pruning fails.
    """
    if not channels:
        return
    try:
        group = channel_group(graph, root, channels)
        possible = graph.check_pruning_group(group)
        if possible:
            group.prune()
    except (RuntimeError, IndexError, AttributeError, AssertionError) as error:
        kind = type(graph.model.get_submodule(root)).__name__
        raise ValueError(f"torch-pruning cannot prune the layer '{root}' ({kind}): {error}") from error
    if not possible:
        raise ValueError(f"removing {len(channels)} channels of the layer '{root}' leaves a layer with none")


def check_runs(model: nn.Module, example_input: Tensor) -> None:
    """Run the model once on the example.

    Raises:
        ValueError: it fails, naming the layer and the operator.
    """
    first = next(model.parameters(), None)
    x = example_input if first is None else example_input.to(first.device)
    named_failure(model, x)
