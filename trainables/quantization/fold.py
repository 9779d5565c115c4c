"""A network as it is deployed: weights that are computed from parameters computed, batch norms in their layers."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from raysearch.networks import operators
from raysearch.networks.operators import Layer, layer_name, layer_of
from raysearch.networks.unlifting import finished, hold

aten = torch.ops.aten


def fold_batch_norm(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A copy of a captured network with each batch norm folded into the layer that it follows.

    Fold only trained networks: one folded at initialisation trains without batch norm, and badly. A weight that is
    computed from parameters (weight norm, spectral norm, any other parametrisation) becomes a parameter first.

    Args:
        graph_module: from ``capture``; it is left as it is.

    Returns:
        A graph module that computes the same up to rounding. A batch norm that follows no layer, or a layer that
        others read too or that is called twice, stays, with its statistics as they are.
    """
    folded = copy.deepcopy(graph_module)
    for node in list(folded.graph.nodes):
        _compute_weight(folded, node)
    for node in list(folded.graph.nodes):
        if node.target is aten.batch_norm.default:
            _fold(folded, node)
    return finished(folded)


@torch.no_grad()
def _compute_weight(graph_module: fx.GraphModule, node: fx.Node) -> None:
    """Make a weight that depends on parameters alone a parameter of its own."""
    place = operators.weight_place(node)
    weight = node.args[place] if place is not None and len(node.args) > place else None
    if not isinstance(weight, fx.Node) or weight.op == "get_attr":
        return
    sources = _sources(weight)
    if sources is None:
        return
    name = _free_name(graph_module, node)
    trained = any(n.op == "get_attr" and _tensor(graph_module, n).requires_grad for n in sources)
    value = _Evaluation(graph_module).value(weight).detach().clone()
    hold(graph_module, name, nn.Parameter(value, requires_grad=trained))
    with graph_module.graph.inserting_before(node):
        attribute = graph_module.graph.get_attr(name)
    attribute.meta = {"val": operators.value_of(weight)}
    weight.replace_all_uses_with(attribute)


def _free_name(graph_module: fx.GraphModule, node: fx.Node) -> str:
    """The name that a layer's weight has where it is a plain parameter."""
    module = next(reversed(node.meta["nn_module_stack"].values()))[0]
    name, taken = f"{module}.weight".lstrip("."), graph_module.state_dict().keys()
    while name in taken:
        name = f"{name}_computed"
    return name


def _sources(node: fx.Node) -> set[fx.Node] | None:
    """All that a tensor is computed from; None where an input of the network is among it."""
    found: set[fx.Node] = set()
    queue = [node]
    while queue:
        source = queue.pop()
        if source.op == "placeholder":
            return None
        if source not in found:
            found.add(source)
            queue += source.all_input_nodes
    return found


class _Evaluation(fx.Interpreter):
    """Computes a node that needs no input."""

    def value(self, node: fx.Node) -> Tensor:
        if node not in self.env:
            for source in node.all_input_nodes:
                self.value(source)
            self.env[node] = self.run_node(node)
        return cast(Tensor, self.env[node])


@torch.no_grad()
def _fold(graph_module: fx.GraphModule, norm: fx.Node) -> None:
    """Take a batch norm's factors into the weights of the layer before it, and its shifts into the bias."""
    node = cast(fx.Node, norm.args[0])
    layer = layer_of(node)
    if layer is None or layer.axis is None or layer.bias is None or not _folds(node, layer):
        return
    weight = graph_module.get_parameter(str(cast(fx.Node, node.args[layer.weight]).target))
    factor, shift = _affine(graph_module, norm)
    weight.copy_(_scaled(weight, factor, layer, _groups(node)))
    given = node.args[layer.bias] if len(node.args) > layer.bias else None
    old = _tensor(graph_module, given) * factor if isinstance(given, fx.Node) else 0
    name = f"{layer_name(node, layer)}.bias".lstrip(".")
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
    """Whether the layer is read by its batch norm alone, along the same axis, and has its tensors to itself."""
    tensors = [node.args[place] for place in (layer.weight, layer.bias) if place is not None and len(node.args) > place]
    alone = len(node.users) == 1 and all(len(t.users) == 1 for t in tensors if isinstance(t, fx.Node))
    value = operators.value_of(node)
    return alone and value is not None and (operators.is_convolution(node) or value.dim() == 2)


def _affine(graph_module: fx.GraphModule, norm: fx.Node) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation mode as x * factor + shift, both (channels,)."""
    _, weight, bias, mean, variance, *_ , eps, _ = norm.args
    mean, variance = _tensor(graph_module, mean), _tensor(graph_module, variance)
    factor = (variance + cast(float, eps)).rsqrt()
    if isinstance(weight, fx.Node):
        factor = factor * _tensor(graph_module, weight)
    shift = -mean * factor
    return factor, shift + _tensor(graph_module, bias) if isinstance(bias, fx.Node) else shift


def _scaled(weight: Tensor, factor: Tensor, layer: Layer, groups: int) -> Tensor:
    """The weights with each output channel's multiplied by its factor."""
    if layer.axis == 0:
        return weight * factor.view(-1, *[1] * (weight.dim() - 1))
    # The output channels of a transposed convolution lie on axis 1, those of each group beside its own inputs.
    shape = (groups, 1, -1, *[1] * (weight.dim() - 2))
    return (weight.unflatten(0, (groups, -1)) * factor.view(shape)).flatten(0, 1)


def _groups(node: fx.Node) -> int:
    return int(cast(int, node.args[6])) if len(node.args) > 6 and operators.is_convolution(node) else 1


def _tensor(graph_module: fx.GraphModule, node: Any) -> Tensor:
    """The parameter or buffer that a node reads."""
    owner, _, name = str(node.target).rpartition(".")
    return cast(Tensor, getattr(graph_module.get_submodule(owner), name))
