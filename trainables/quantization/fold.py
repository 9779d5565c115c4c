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
        that others read too or that is called twice, stays, with its statistics as they are.
    """
    folded = copy.deepcopy(graph_module)
    for node in list(folded.graph.nodes):
        if node.target is aten.batch_norm.default:
            _fold(folded, node)
    return finished(folded)


@torch.no_grad()
def _fold(graph_module: fx.GraphModule, norm: fx.Node) -> None:
    """Take a batch norm's factors into the weights of the layer before it, and its shifts into the bias."""
    node = cast(fx.Node, norm.args[0])
    layer = layer_of(node)
    if layer is None or layer.axis is None or layer.bias is None or not _folds(node, layer):
        return
    if norm.args[3] is None:  # it takes the statistics of each batch
        return
    weight = graph_module.get_parameter(str(cast(fx.Node, node.args[layer.weight]).target))
    factor, shift = _affine(graph_module, norm)
    weight.copy_(_scaled(weight, factor, layer, operators.groups_of(node)))
    given = node.args[layer.bias] if len(node.args) > layer.bias else None
    old = attribute(graph_module, given) * factor if isinstance(given, fx.Node) else 0
    name = str(given.target) if isinstance(given, fx.Node) else _bias_name(graph_module, node, layer)
    hold(graph_module, name, nn.Parameter(old + shift, requires_grad=weight.requires_grad))
    with graph_module.graph.inserting_before(node):
        bias = graph_module.graph.get_attr(name)
    bias.meta = {"val": operators.value_of(norm.args[4])}
    arguments = [*node.args, *[None] * (layer.bias + 1 - len(node.args))]
    arguments[layer.bias] = bias
    node.args = tuple(arguments)
    norm.replace_all_uses_with(node)
    graph_module.graph.erase_node(norm)


def _folds(node: fx.Node, layer: Layer) -> bool:
    """Whether a batch norm alone reads the layer, along its channels, and nobody else its tensors."""
    tensors = [
        node.args[place]
        for place in (layer.weight, layer.bias)
        if place is not None and len(node.args) > place
    ]
    held = [t for t in tensors if isinstance(t, fx.Node)]
    alone = len(node.users) == 1 and all(t.op == "get_attr" and len(t.users) == 1 for t in held)
    value = operators.value_of(node)
    return alone and value is not None and (operators.is_convolution(node) or value.dim() == 2)


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
