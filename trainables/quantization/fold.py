"""Folding batch normalisation into the layer before it."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, fx, nn

from raysearch.networks import operators
from raysearch.networks.operators import Layer, layer_of, weight_name
from raysearch.networks.unlifting import attribute, finished, hold

aten = torch.ops.aten


def fold_batch_norm(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A copy of a captured network with each batch norm folded into the layer that it follows.

    Fold only trained networks: one folded at initialisation trains without batch norm, and badly.

    Args:
        graph_module: from ``capture``; it is left as it is.

    Returns:
        A graph module that computes the same up to rounding. A batch norm that follows no layer, or a layer
        that others read too or that is called elsewhere without it, stays, with its statistics as they are.
    """
    folded = copy.deepcopy(graph_module)
    for node in list(folded.graph.nodes):
        if node.target is aten.batch_norm.default:
            _fold(folded, node)
    return finished(folded)


@torch.no_grad()
def _fold(graph_module: fx.GraphModule, norm: fx.Node) -> None:
    """Take a batch norm's factors into the weights of the layer before it, and its shifts into the bias."""
    node = norm.args[0]
    layer = layer_of(node) if isinstance(node, fx.Node) else None
    if layer is None or layer.axis is None or layer.bias is None:
        return
    norms = _norms_of(cast(fx.Node, node), layer)
    if norm not in norms or norm.args[3] is None:  # without statistics it takes those of each batch
        return
    bias, value = _folded(graph_module, norm, layer), operators.value_of(norm.args[4])
    for each in norms:
        call = cast(fx.Node, each.args[0])
        arguments = [*call.args, *[None] * (layer.bias + 1 - len(call.args))]
        with graph_module.graph.inserting_before(call):
            arguments[layer.bias] = graph_module.graph.get_attr(bias)
        cast(fx.Node, arguments[layer.bias]).meta = {"val": value}
        call.args = tuple(arguments)
        each.replace_all_uses_with(call)
        graph_module.graph.erase_node(each)


def _folded(graph_module: fx.GraphModule, norm: fx.Node, layer: Layer) -> str:
    """Change the layer's weights and bias as the batch norm behind it would; the name of the bias."""
    node = cast(fx.Node, norm.args[0])
    weight = graph_module.get_parameter(str(cast(fx.Node, node.args[layer.weight]).target))
    factor, shift = _affine(graph_module, norm)
    weight.copy_(_scaled(weight, factor, layer, operators.groups_of(node)))
    given = _at(node, layer.bias)
    old = attribute(graph_module, given) * factor if given is not None else 0
    name = str(given.target) if given is not None else _bias_name(graph_module, node, layer)
    hold(graph_module, name, nn.Parameter(old + shift, requires_grad=weight.requires_grad))
    return name


def _norms_of(node: fx.Node, layer: Layer) -> list[fx.Node]:
    """The batch norms behind all calls of a layer, where they are one and the same and alone read it."""
    tensors = [t for t in (_at(node, layer.weight), _at(node, layer.bias)) if t is not None]
    calls = list(tensors[0].users) if tensors else []
    norms = [next(iter(call.users)) for call in calls if len(call.users) == 1]
    whole = (
        len(norms) == len(calls)
        and all(t.op == "get_attr" and t.users.keys() == set(calls) for t in tensors)
        and all(layer_of(call) == layer and _along_channels(call) for call in calls)
        and all(n.target is aten.batch_norm.default and n.args[1:] == norms[0].args[1:] for n in norms)
        and [n.args[0] for n in norms] == calls
    )
    return norms if whole else []


def _along_channels(node: fx.Node) -> bool:
    value = operators.value_of(node)
    return value is not None and (operators.is_convolution(node) or value.dim() == 2)


def _at(node: fx.Node, place: int | None) -> fx.Node | None:
    """The tensor at a place of a call's arguments, if there is one."""
    given = node.args[place] if place is not None and len(node.args) > place else None
    return given if isinstance(given, fx.Node) else None


def _bias_name(graph_module: fx.GraphModule, node: fx.Node, layer: Layer) -> str:
    """The name of a bias that a layer did not have: beside its weight, whatever that is called."""
    owner, _, own = weight_name(node, layer).rpartition(".")
    name = f"{owner}.{'bias' if own == 'weight' else f'{own}_bias'}".lstrip(".")
    while name in graph_module.state_dict():
        name = f"{name}_folded"
    return name


def _affine(graph_module: fx.GraphModule, norm: fx.Node) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation mode as x * factor + shift, both (channels,)."""
    _, weight, bias, mean, variance, *_, eps, _ = norm.args
    mean, variance = attribute(graph_module, mean), attribute(graph_module, variance)
    factor = (variance + cast(float, eps)).rsqrt()
    if isinstance(weight, fx.Node):
        factor = factor * attribute(graph_module, weight)
    shift = -mean * factor
    return factor, shift + attribute(graph_module, bias) if isinstance(bias, fx.Node) else shift


def _scaled(weight: Tensor, factor: Tensor, layer: Layer, groups: int) -> Tensor:
    """The weights with each output channel's multiplied by its factor."""
    if layer.axis == 0:
        return weight * factor.view(-1, *[1] * (weight.dim() - 1))
    # The output channels of a transposed convolution lie on axis 1, those of each group beside its own
    # inputs.
    shape = (groups, 1, -1, *[1] * (weight.dim() - 2))
    grouped = weight.view(groups, -1, *weight.shape[1:])
    return (grouped * factor.view(shape)).flatten(0, 1)
