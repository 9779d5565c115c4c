"""Activations that are products, written as such, so that the product can be computed in integers."""

from __future__ import annotations

import torch
from torch import fx

aten = torch.ops.aten
_GATES = {aten.silu.default: aten.sigmoid.default, aten.hardswish.default: aten.hardsigmoid.default}


def split_gates(graph: fx.Graph) -> None:
    """Write SiLU as x * sigmoid(x) and hard swish as x * hardsigmoid(x), in place; files do so anyway."""
    for node in list(graph.nodes):
        gate = _GATES.get(node.target)
        if gate is None:
            continue
        (x,) = node.all_input_nodes
        with graph.inserting_before(node):
            factor = graph.call_function(gate, (x,))
            product = graph.call_function(aten.mul.Tensor, (x, factor))
        factor.meta, product.meta = dict(node.meta), dict(node.meta)
        node.replace_all_uses_with(product)
        graph.erase_node(node)
