"""Operators that are written as several, so that those with an integer form can be computed in integers."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import fx

from raysearch.networks.operators import value_of

aten = torch.ops.aten
_GATES = {aten.silu.default: aten.sigmoid.default, aten.hardswish.default: aten.hardsigmoid.default}


def split_composites(graph: fx.Graph) -> None:
    """Write gated activations as products, and attention as two products around a softmax, in place.

    Files have them so anyway. Attention that is causal by a flag, drops out or shares keys among heads stays.
    """
    for node in list(graph.nodes):
        if node.target in _GATES:
            _split_gate(graph, node)
        elif node.target is aten.scaled_dot_product_attention.default and _is_plain(node):
            _split_attention(graph, node)


def _split_gate(graph: fx.Graph, node: fx.Node) -> None:
    """SiLU as x * sigmoid(x), hard swish as x * hardsigmoid(x)."""
    (x,) = node.all_input_nodes
    with graph.inserting_before(node):
        product = _call(
            graph, node, aten.mul.Tensor, x, _call(graph, node, _GATES[cast(Any, node.target)], x)
        )
    _replace(graph, node, product)


def _is_plain(node: fx.Node) -> bool:
    dropout, causal = (*node.args[4:], 0.0, False)[:2] if len(node.args) > 4 else (0.0, False)
    flags = (dropout, causal, *(node.kwargs.get(f) for f in ("dropout_p", "is_causal", "enable_gqa")))
    return not any(flags)


def _split_attention(graph: fx.Graph, node: fx.Node) -> None:
    """softmax(q k^T * scale + mask) v (Vaswani et al., 2017); a mask of truths hides what is false."""
    query, key, value, mask = (*node.args, None)[:4]
    size = cast(torch.Tensor, value_of(query)).shape[-1]
    scale = node.kwargs.get("scale")
    scale = 1 / math.sqrt(size) if scale is None else scale
    with graph.inserting_before(node):
        turned = _call(graph, node, aten.transpose.int, key, -2, -1)
        scores = _call(graph, node, aten.matmul.default, query, turned)
        scores = _call(graph, node, aten.mul.Tensor, scores, scale)
        if isinstance(mask, fx.Node) and cast(torch.Tensor, value_of(mask)).dtype is torch.bool:
            hidden = _call(graph, node, aten.logical_not.default, mask)
            scores = _call(graph, node, aten.masked_fill.Scalar, scores, hidden, -math.inf)
        elif isinstance(mask, fx.Node):
            scores = _call(graph, node, aten.add.Tensor, scores, mask)
        weights = _call(graph, node, aten.softmax.int, scores, -1)
        product = _call(graph, node, aten.matmul.default, weights, value)
    _replace(graph, node, product)


def _call(graph: fx.Graph, origin: fx.Node, target: Any, *args: Any) -> fx.Node:
    """A node that belongs to the same layer as its origin, with the tensor that it gives."""
    node = graph.call_function(target, args)
    node.meta = dict(origin.meta)
    node.meta["val"] = target(*(a.meta["val"] if isinstance(a, fx.Node) else a for a in args))
    return node


def _replace(graph: fx.Graph, node: fx.Node, new: fx.Node) -> None:
    node.replace_all_uses_with(new)
    graph.erase_node(node)
