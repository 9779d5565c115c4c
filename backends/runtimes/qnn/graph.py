"""What is changed in an ONNX file for Qualcomm's NPU before it is compiled."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from raysearch.backends.base import Array

# What an operator with integer weights may have between itself and the quantiser of its output.
_BETWEEN = ("Add", "Clip", "MatMul", "Relu", "Transpose")


def name_nodes(graph: Any) -> None:
    """Name each operator by the layer whose weights it reads, so that it can be told where it is refused."""
    layers = {
        constant.name: constant.name.rpartition(".")[0]
        for constant in graph.initializer
        if re.search(r"\.(weight|bias)\w*$", constant.name)
    }
    for node in graph.node:
        layer = next((layers[name] for name in node.input if name in layers), "")
        node.name = f"{layer}/{node.output[0]}"
        if node.op_type in ("DequantizeLinear", "Transpose") and layer:
            layers[node.output[0]] = layer


def float_ends(graph: Any) -> None:
    """Take the integers out of weights of operators whose output is not quantised, such as a head's.

    The NPU multiplies integers only into integers. With weights in float, rounded as before, it takes such
    an operator in float16.
    """
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in graph.initializer}
    held = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    readers = _readers(graph)
    for name, source in held.items():
        ends = [node for node in readers[name] if node and not _in_integers(node, readers)]
        if ends:
            value = _dequantized(source, constants)
            graph.initializer.append(numpy_helper.from_array(value, f"{name}_float"))
        for node in ends:
            node.input[:] = [f"{name}_float" if each == name else each for each in node.input]
        if len(ends) == len(readers[name]):
            graph.node.remove(source)


def widen_bytes(graph: Any) -> None:
    """Take inputs of bytes as int32: the NPU's cast of uint8 to floats gives 1 for all but 0."""
    from onnx import TensorProto

    readers = _readers(graph)
    for value in graph.input:
        users = readers.get(value.name, [])
        kind = value.type.tensor_type
        if kind.elem_type == TensorProto.UINT8 and all(user and user.op_type == "Cast" for user in users):
            kind.elem_type = TensorProto.INT32


def known_shapes(graph: Any, batch: int) -> tuple[tuple[int, ...], ...] | None:
    """The inputs' shapes for a batch, where no other axis varies."""
    shapes = []
    for value in graph.input:
        axes = list(value.type.tensor_type.shape.dim)[1:]
        if any(not axis.HasField("dim_value") for axis in axes):
            return None
        shapes.append((batch, *(axis.dim_value for axis in axes)))
    return tuple(shapes)


def of_shapes(model: Any, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """A copy whose inputs have these shapes; those of all else follow from them."""
    fixed = copy.deepcopy(model)
    for value, shape in zip(fixed.graph.input, shapes, strict=True):
        for axis, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            axis.dim_value = size
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        for axis in value.type.tensor_type.shape.dim:
            axis.Clear()
    return fixed


def numpy_type(value: Any) -> Any:
    """The type of array that an input takes."""
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def _readers(graph: Any) -> dict[str, list[Any]]:
    """The operators that read each tensor; of an output of the network the outside, as None."""
    found: dict[str, list[Any]] = {name: [] for node in graph.node for name in node.output}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            found.setdefault(name, []).append(node)
    for output in graph.output:
        found[output.name].append(None)
    return found


def _in_integers(node: Any, readers: Mapping[str, list[Any]]) -> bool:
    """Whether only quantisers read what comes of an operator; the outside does not count as one."""
    users = [user for name in node.output for user in readers[name]]
    return all(
        user
        and (user.op_type == "QuantizeLinear" or (user.op_type in _BETWEEN and _in_integers(user, readers)))
        for user in users
    )


def _dequantized(node: Any, constants: Mapping[str, Any]) -> Array:
    """What a DequantizeLinear of constants, without a zero point other than 0, gives."""
    from onnx import numpy_helper

    codes, step = (numpy_helper.to_array(constants[name]).astype(np.float32) for name in node.input[:2])
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    shape = [-1 if place == axis % codes.ndim else 1 for place in range(codes.ndim)] if step.ndim else []
    found: Array = codes * step.reshape(shape)
    return found
