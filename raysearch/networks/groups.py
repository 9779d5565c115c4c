"""Which layers of a model can be pruned and which can be quantised.

Channels are removed by torch-pruning (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023).
What can vary there is not a layer but a *dependency group*: layers whose channels have to go together, such
as all that are added by a skip connection. Beside them the heads of an attention are a group.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from raysearch.basics.failures import UserError
from raysearch.basics.garbage import new_garbage_freed
from raysearch.basics.parts import is_heads
from raysearch.networks import nests
from raysearch.networks.attention.heads import Attention, attentions, remove_heads
from raysearch.networks.attention.trial import sound_heads
from raysearch.networks.capture import capture
from raysearch.networks.copying import copy_of
from raysearch.networks.nests import Nest
from raysearch.networks.operators import layer_name, layer_of
from raysearch.networks.running import check_runs, within_time_limit

TIME_LIMIT_S = 20.0
"""How long taking a model apart may last: where torch-pruning hangs it also eats 100 MB a second."""


class CannotPrune(UserError):
    """A model runs, and no channels can be removed from it."""


_UNREAD = (nn.RNNBase, nn.RNNCellBase)
_ROOTS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def quantizable_layers(model: nn.Module, example_input: Nest, exclude: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the layers that multiply by weights (tables too), in the order in which they run.

    Args:
        model: any module that can be captured.
        example_input: a batch that the model takes.
        exclude: layers, or parts with all their layers, to leave out.

    Raises:
        UserError: the model cannot be captured.
    """
    nodes = capture(model, example_input).graph.nodes
    layers = [(node, layer) for node in nodes if (layer := layer_of(node))]
    names = dict.fromkeys(layer_name(node, layer) for node, layer in layers)
    return tuple(name for name in names if not _is_inside(name, exclude))


def prunable_groups(
    model: nn.Module,
    example_input: Nest,
    time_limit_s: float = TIME_LIMIT_S,
    exclude: Sequence[str] = (),
) -> dict[str, int]:
    """The model's dependency groups: {root layer's name: its output channels}, in the model's order.

    The root is the first layer of the group. Groups that reach the model's output are left out. The model is
    not changed: half of every group is removed from copies, and a group without which the rest does not run
    (those along a transformer's embedding, say) is left out with a warning.

    Behind them stand attentions' heads, {"encoder.0.attention.(heads)": how many}, where removing some is the
    same as not reading them; the layers that make them are no groups then.

    Args:
        model: any module; its mode and gradients are left as they are.
        example_input: a batch that the model takes: a tensor (n, ...), or a nest of them.
        time_limit_s: how long taking the model apart may last.
        exclude: layers, or parts with all their layers, that keep their output channels.

    Raises:
        CannotPrune: there is no such group, or torch-pruning cannot handle the model; the layer and the
            operator are named.
        UserError: the model does not run.
    """
    _, channels = take_apart(model, example_input, time_limit_s, exclude)
    found = attentions(model, example_input, exclude)
    heads = sound_heads(model, example_input, found)
    if len(heads) < len(found):
        inexact = ", ".join(name for name in found if name not in heads)
        warnings.warn(
            f"left out of pruning, since removing is not the same as not reading: {inexact}", stacklevel=2
        )
    groups = without_heads(channels, heads) | {name: a.count for name, a in heads.items()}
    if not groups:
        raise CannotPrune(f"the model ({type(model).__name__}) has no layer whose channels can be pruned")
    problem = _problem(model, example_input, groups)
    if problem is None:
        return groups
    sound = {r: n for r, n in groups.items() if _problem(model, example_input, [r]) is None}
    if heads and _problem(model, example_input, sound) is not None:
        sound = {r: n for r, n in sound.items() if not is_heads(r)}
    if not sound or _problem(model, example_input, sound) is not None:
        raise problem
    unsound = ", ".join(r for r in groups if r not in sound)
    warnings.warn(f"left out of pruning, since the model does not run without: {unsound}", stacklevel=2)
    return sound


def without_heads(channels: Mapping[str, int], heads: Mapping[str, Attention]) -> dict[str, int]:
    """Groups of channels without those that attentions' heads are of: they go head by head."""
    made = {layer for attention in heads.values() for layer in attention.layers}
    return {root: width for root, width in channels.items() if root not in made}


def take_apart(
    model: nn.Module,
    example_input: Nest,
    time_limit_s: float = TIME_LIMIT_S,
    exclude: Sequence[str] = (),
) -> tuple[tp.DependencyGraph, dict[str, int]]:
    """Torch-pruning's dependency graph of a model and {root layer: output channels} of its groups.

    Groups with a layer that is excluded are left out.

    Raises:
        CannotPrune: taking it apart failed or took too long; the message names the layer and the operator.
        UserError: the model does not run.
    """
    check_runs(model, example_input)
    modes = {m: m.training for m in model.modules()}
    frozen = [p for p in model.parameters() if not p.requires_grad]
    inputs = nests.to_device(example_input, nests.device_of(model))

    def work() -> tuple[tp.DependencyGraph, dict[str, int]]:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            graph = tp.DependencyGraph().build_dependency(model, inputs, forward_fn=_outputs, verbose=False)
            return graph, _groups(graph, exclude)

    for p in frozen:  # the graph is read from autograd's
        p.requires_grad_(True)
    try:
        return within_time_limit(work, time_limit_s, "torch-pruning")
    except UserError as error:  # the model itself has run
        raise CannotPrune(str(error)) from error
    finally:
        for p in frozen:
            p.requires_grad_(False)
        for m, mode in modes.items():
            m.training = mode


def _outputs(model: nn.Module, inputs: Nest) -> list[Any]:
    """What the model gives, as a list of tensors with gradients: torch-pruning knows no other nest.

    It cannot read a recurrent layer other than an LSTM. What such a layer reads counts as an output of the
    model, whose channels stay, and what it gives as an input.
    """
    read: list[Any] = []

    def cut(_: nn.Module, given: Any) -> Any:
        read.extend(nests.tensors(given))
        return nests.map_tensors(torch.Tensor.detach, given)

    layers = [m for m in model.modules() if isinstance(m, _UNREAD) and not isinstance(m, nn.LSTM)]
    hooks = [layer.register_forward_pre_hook(cut) for layer in layers]
    hooks += [
        layer.register_forward_hook(lambda _, __, given: nests.map_tensors(torch.Tensor.detach, given))
        for layer in layers
    ]
    try:
        given = nests.tensors(nests.call(model, inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return [tensor for tensor in [*given, *read] if tensor.requires_grad]


def _groups(graph: tp.DependencyGraph, exclude: Sequence[str]) -> dict[str, int]:
    """Root layers of the groups that can be pruned with their output channels, in the model's order."""
    order = {m: i for i, m in enumerate(graph.model.modules())}
    names = {m: name for name, m in graph.model.named_modules()}
    roots: dict[int, tuple[str, int]] = {}
    for group in graph.get_all_groups(root_module_types=list(_ROOTS)):
        pruned = [d for d, _ in group if graph.is_out_channel_pruning_fn(d.handler)]
        width = len(group[0].idxs)
        if width < 2 or any(not d.target.outputs for d in pruned):
            continue  # pruning it would change the shape of the model's output
        if any(_is_inside(names.get(d.target.module, ""), exclude) for d in pruned):
            continue
        candidates = [d.target.module for d in pruned if is_root(d.target.module, width, graph)]
        root = min(candidates, key=lambda m: order[m], default=group[0].dep.target.module)
        roots[order[root]] = (names[root], width)
    return dict(roots[i] for i in sorted(roots))


def _is_inside(layer: str, parts: Sequence[str]) -> bool:
    return any(layer == part or layer.startswith(f"{part}.") for part in parts)


def is_root(module: Any, width: int, graph: tp.DependencyGraph) -> bool:
    """Whether a layer makes so many channels, each by a row of its weights."""
    depthwise = getattr(module, "groups", 1) == width
    return isinstance(module, _ROOTS) and not depthwise and graph.get_out_channels(module) == width


def channel_group(graph: tp.DependencyGraph, root: str, channels: list[int]) -> Any:
    """Torch-pruning's group of everything that goes when these channels of a root layer go."""
    layer = graph.model.get_submodule(root)
    return graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, channels)


def channel_blocks(graph: tp.DependencyGraph, root: str) -> int:
    """In how many equal blocks a group's channels lie that must lose the same number each.

    That is the number of groups of its grouped convolutions; 1 where there are none. Depthwise convolutions
    follow the layer before them and ask for nothing.
    """
    width = graph.get_out_channels(graph.model.get_submodule(root))
    layers = [dep.target.module for dep, _ in channel_group(graph, root, list(range(width)))]
    counts = {m.groups for m in layers if isinstance(m, nn.Conv2d) and 1 < m.groups < width}
    return max((c for c in counts if width % c == 0), default=1)


def remove_channels(graph: tp.DependencyGraph, root: str, channels: list[int]) -> None:
    """Remove channels of a root layer, with all that depends on them; what is frozen stays so.

    Raises:
        ValueError: a layer would be left without channels, or torch-pruning fails.
    """
    frozen = [name for name, p in graph.model.named_parameters() if not p.requires_grad]
    try:
        group = channel_group(graph, root, channels)
        possible = graph.check_pruning_group(group)
        if possible:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it reads gradients of weights that have none
                group.prune()
    except (RuntimeError, LookupError, AttributeError, AssertionError) as error:
        kind = type(graph.model.get_submodule(root)).__name__
        raise UserError(f"torch-pruning cannot prune the layer '{root}' ({kind}): {error}") from error
    if not possible:
        raise UserError(f"removing {len(channels)} channels of the layer '{root}' leaves a layer with none")
    for name in frozen:  # the parameters are new ones
        graph.model.get_parameter(name).requires_grad_(False)


def _problem(model: nn.Module, example_input: Nest, roots: Collection[str]) -> CannotPrune | None:
    """What goes wrong when half of each of these groups is removed from a copy of the model."""
    with new_garbage_freed():  # the graph is full of cycles, and holds on to the copy
        try:
            _prune_half(copy_of(model), example_input, roots)
        except ValueError as error:
            return CannotPrune(str(error))
    return None


def _prune_half(trial: nn.Module, example_input: Nest, roots: Collection[str]) -> None:
    graph, widths = take_apart(trial, example_input)
    heads = [root for root in roots if is_heads(root)]
    for root in (r for r in roots if r not in heads):
        blocks = channel_blocks(graph, root)
        size = widths[root] // blocks
        removed = [block * size + i for block in range(blocks) for i in range(size // 2)]
        if removed:
            remove_channels(graph, root, removed)
    _check_pruned(trial, example_input)
    if heads:
        found = attentions(trial, example_input)
        for name in heads:
            remove_heads(trial, found[name], range(found[name].count // 2))
        _check_pruned(trial, example_input)


def _check_pruned(model: nn.Module, example_input: Nest) -> None:
    try:
        check_runs(model, example_input)
    except UserError as error:
        raise UserError(f"after pruning, {error}") from error
