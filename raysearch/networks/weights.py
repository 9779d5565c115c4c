"""Weights that a network computes from parameters: weight norm, spectral norm, any other parametrisation."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx, nn

from raysearch.networks import operators
from raysearch.networks.unlifting import attribute, finished, hold


@torch.no_grad()
def compute_weights(graph_module: fx.GraphModule) -> None:
    """Make each layer's weight that depends on parameters alone a parameter of its own, in place."""
    for node in list(graph_module.graph.nodes):
        _compute_weight(graph_module, node)
    finished(graph_module)


def _compute_weight(graph_module: fx.GraphModule, node: fx.Node) -> None:
    place = operators.weight_place(node)
    weight = node.args[place] if place is not None and len(node.args) > place else None
    if not isinstance(weight, fx.Node) or weight.op == "get_attr":
        return
    sources = _sources(weight)
    if sources is None:
        return
    name = _free_name(graph_module, node)
    trained = any(n.op == "get_attr" and attribute(graph_module, n).requires_grad for n in sources)
    value = _Evaluation(graph_module).value(weight).detach().clone()
    hold(graph_module, name, nn.Parameter(value, requires_grad=trained))
    with graph_module.graph.inserting_before(node):
        computed = graph_module.graph.get_attr(name)
    computed.meta = {"val": operators.value_of(weight)}
    weight.replace_all_uses_with(computed)


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
