"""Weights that a network computes from parameters: weight norm, spectral norm, any other parametrisation."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx, nn

from raysearch.networks import operators
from raysearch.networks.unlifting import attribute, finished, hold

_TRANSPOSES = ("t", "transpose", "permute", "numpy_T")  # of a matrix


@torch.no_grad()
def compute_weights(graph_module: fx.GraphModule) -> None:
    """Make each layer's weight and bias that depend on no input parameters of their own, in place.

    One that is held as a buffer (a fixed filter, say) becomes a parameter that is not trained.
    """
    for node in list(graph_module.graph.nodes):
        _write_as_linear(node)
        for word, place in operators.weight_places(node).items():
            given = node.args[place] if len(node.args) > place else None
            if isinstance(given, fx.Node) and given.op == "get_attr":
                _hold_as_parameter(graph_module, given)
            elif isinstance(given, fx.Node):
                _compute(graph_module, given, _name(node, word))
    finished(graph_module)


def _write_as_linear(node: fx.Node) -> None:
    """``x @ W.t()`` as the linear layer that it is: tied weights stay one parameter."""
    if operators.name_of(node) not in ("matmul", "mm"):
        return
    x, turned = node.args[:2]
    if not isinstance(turned, fx.Node) or operators.name_of(turned) not in _TRANSPOSES:
        return
    weight = turned.args[0]
    value = operators.value_of(weight)
    if isinstance(weight, fx.Node) and weight.op == "get_attr" and value is not None and value.dim() == 2:
        node.target, node.args = torch.ops.aten.linear.default, (x, weight)


def _hold_as_parameter(graph_module: fx.GraphModule, node: fx.Node) -> None:
    tensor = attribute(graph_module, node)
    if isinstance(tensor, nn.Parameter):
        return
    owner, _, name = str(node.target).rpartition(".")
    delattr(graph_module.get_submodule(owner), name)
    hold(graph_module, str(node.target), nn.Parameter(tensor, requires_grad=False))


def _compute(graph_module: fx.GraphModule, computed: fx.Node, name: str) -> None:
    sources = _sources(computed)
    if sources is None:
        return
    while name in graph_module.state_dict():
        name = f"{name}_computed"
    trained = any(n.op == "get_attr" and attribute(graph_module, n).requires_grad for n in sources)
    value = _Evaluation(graph_module).value(computed).detach().clone()
    hold(graph_module, name, nn.Parameter(value, requires_grad=trained))
    with graph_module.graph.inserting_after(computed):  # before all that read it, layers or not
        held = graph_module.graph.get_attr(name)
    held.meta = {"val": operators.value_of(computed)}
    computed.replace_all_uses_with(held)


def _name(node: fx.Node, word: str) -> str:
    """The name that a layer's weight has where it is a plain parameter."""
    module = next(reversed(node.meta["nn_module_stack"].values()))[0]
    return f"{module}.{word}".lstrip(".")


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
