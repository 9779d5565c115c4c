"""Nodes of a torch graph that stand for ONNX operators.

Torch has one operator for all of them; its exporter writes what its arguments say. This is how
``torch.onnx.ops.symbolic`` calls it, as a node of a graph in place of a call in a module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

OPSET = 21
NAME = "raysearch.name"
_DTYPES = {
    torch.float32: 1,
    torch.uint8: 2,
    torch.int8: 3,
    torch.int32: 6,
    torch.int64: 7,
    torch.float16: 10,
}


def symbolic(
    graph: fx.Graph,
    operator: str,
    inputs: Sequence[fx.Node | None],
    value: Tensor,
    attributes: Mapping[str, int | float] | None = None,
    *,
    version: int = OPSET,
) -> fx.Node:
    """Add a node at the graph's place of insertion.

    Args:
        graph: changed in place.
        operator: ONNX's name, "QuantizeLinear".
        inputs: its inputs in order; None for one that is left out.
        value: a tensor of the shape and type that it gives.
        attributes: its attributes.
        version: of the operator set.
    """
    node = graph.call_function(
        torch.ops.onnx_symbolic._symbolic.default,
        (list(inputs), operator, _DTYPES[value.dtype]),
        {"shape": _sizes(graph, value, inputs), **_encoded(attributes or {}), "version": version},
    )
    node.meta["val"] = value
    return node


def symbolic_several(
    graph: fx.Graph,
    operator: str,
    inputs: Sequence[fx.Node | None],
    values: Sequence[Tensor],
    attributes: Mapping[str, int | float] | None = None,
    *,
    version: int = OPSET,
) -> fx.Node:
    """As ``symbolic``, for an operator with several outputs, which are read by their places."""
    node = graph.call_function(
        torch.ops.onnx_symbolic._symbolic_multi_out.default,
        (list(inputs), operator, [_DTYPES[value.dtype] for value in values]),
        {
            "shapes": [_sizes(graph, value, inputs) for value in values],
            **_encoded(attributes or {}),
            "version": version,
        },
    )
    node.meta["val"] = list(values)
    return node


def give_name(node: fx.Node, name: str) -> None:
    """Note the name that the file's tensor is to have: the exporter, which may trace anew, gives its own."""
    node.update_kwarg("metadata_props_keys", [NAME])
    node.update_kwarg("metadata_props_values", [name])


def _encoded(given: Mapping[str, int | float]) -> dict[str, Any]:
    """Attributes as lists, the only form in which a graph may hold them."""
    whole = [v for v in given.values() if isinstance(v, int)]
    broken = [v for v in given.values() if isinstance(v, float)]
    return {
        "attr_keys": list(given),
        "attr_types": ["i" if isinstance(v, int) else "f" for v in given.values()],
        "attr_pos": [_place(v, whole if isinstance(v, int) else broken) for v in given.values()],
        "attr_ints": whole,
        "attr_floats": broken,
        "attr_strs": [],
        "metadata_props_keys": [],
        "metadata_props_values": [],
    }


def _place(value: float, values: list[Any]) -> tuple[int, int]:
    """From where to where an attribute lies in the list of its kind."""
    first = values.index(value)
    return first, first + 1


def _sizes(graph: fx.Graph, value: Tensor, inputs: Sequence[fx.Node | None]) -> list[int | fx.Node]:
    """The sizes of a value: numbers, and for those that vary the size of an input's axis that varies alike.

    Torch reads them where it traces the graph again; no file holds them.
    """
    sizes: list[int | fx.Node] = []
    for size in value.shape:
        if isinstance(size, int):
            sizes.append(size)
            continue
        source, axis = next(
            (node, axis)
            for node in inputs
            if node is not None
            for axis, own in enumerate(node.meta["val"].shape)
            if not isinstance(own, int) and own.node.expr == size.node.expr
        )
        sizes.append(graph.call_function(torch.ops.aten.sym_size.int, (source, axis)))
        sizes[-1].meta["val"] = size
    return sizes
