"""What TensorRT cannot take of an ONNX file's quantisers, found before its parser takes them for another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_TYPES = ("INT8", "INT4", "FLOAT8E4M3FN", "FLOAT4E2M1")


def objection(model: ModelProto) -> str | None:
    """Why TensorRT would not compute what an ONNX file's quantisers say; None where it would.

    Its parser only warns of a zero point in uint8 and goes on with int8, which cuts off all values above 127
    steps; it fails on a bias in int32 without a word on why.
    """
    for graph in _graphs(model.graph):
        constants = _constants(graph)
        for node in graph.node:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                reason = _of_node(node, constants)
                if reason is not None:
                    return (
                        f"{node.op_type} of {node.input[0]!r} has {reason}, which TensorRT does not compute"
                    )
    return None


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and those of its branches and loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Tensors that a graph holds, by name."""
    nodes = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].HasField("t")]
    held = {node.output[0]: node.attribute[0].t for node in nodes}
    return held | {tensor.name: tensor for tensor in graph.initializer}


def _of_node(node: NodeProto, constants: dict[str, TensorProto]) -> str | None:
    codes = constants.get(node.input[0])
    if codes is not None and node.op_type == "DequantizeLinear" and _word(codes.data_type) not in _TYPES:
        return f"values in {_word(codes.data_type).lower()}"
    if len(node.input) < 3 or not node.input[2]:
        return "no zero point, and so one in uint8" if node.op_type == "QuantizeLinear" else None
    zero_point = constants.get(node.input[2])
    if zero_point is None:
        return "a computed zero point"
    if _word(zero_point.data_type) not in _TYPES:
        return f"a zero point in {_word(zero_point.data_type).lower()}"
    from onnx import numpy_helper

    if np.any(numpy_helper.to_array(zero_point).astype(np.float32)):
        return "a zero point that is not 0"
    return None


def _word(data_type: int) -> str:
    """A tensor's type by its name, "INT8"."""
    from onnx import helper

    return str(helper.tensor_dtype_to_string(data_type)).rpartition(".")[2]
