"""What a model file says without being run: the key of its structure, and what its weights weigh."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from raysearch.backends import tflite
from raysearch.backends.exported import load_program

_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def structure_key(path: Path) -> str:
    """A hash of the graph without its weights' values: equal keys run equally fast on the same runtime.

    Operators, attributes, shapes and types count, names do not. Which constants are weights is decided by who
    reads them: whatever a QuantizeLinear or DequantizeLinear reads is one. Elsewhere integers and booleans
    are structure (shapes, axes, pads, limits of an integer Clip), and so are float scalars and the scales of
    a Resize (limits, exponents, the constants by which runtimes recognise what to fuse); every other float
    tensor is a weight, and so are the limits before an int8 QuantizeLinear, which follow its learnt step.
    Where that takes a learned scalar for structure, a model is measured once more than needed.

    Args:
        path: an ONNX, a .tflite or a .pt2 file.
    """
    if path.suffix == ".tflite":
        lines = tflite.structure_lines(path)
    else:
        lines = _program_lines(path) if path.suffix == ".pt2" else _model_lines(onnx.load(str(path)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def weights_mb(path: Path) -> float:
    """Weights and biases in megabytes (1e6 bytes), each in the type that it is stored in.

    Steps and zero points of quantisation are not counted.

    Args:
        path: an ONNX or a .tflite file.
    """
    if path.suffix == ".tflite":
        return tflite.weights_bytes(path) / 1e6
    graph = onnx.load(str(path)).graph
    steps = {name for n in graph.node if n.op_type in _QUANTIZERS for name in n.input[1:]}
    quantized = {n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    held = [
        tensor
        for name, tensor in _constants(graph).items()
        if name in quantized or (tensor.data_type in _FLOATS and tensor.dims and name not in steps)
    ]
    return sum(tensor_bytes(t.data_type, t.dims) for t in held) / 1e6


def _constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Initialisers and the values of Constant nodes, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = _constant_value(node)
    return found


def _constant_value(node: NodeProto) -> TensorProto:
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return value
    # value_int(s) and value_float(s): the short forms of a scalar or a vector
    kind = np.float32 if attribute.name.startswith("value_float") else np.int64
    return numpy_helper.from_array(np.array(value, dtype=kind))


def _model_lines(model: ModelProto) -> Iterator[str]:
    yield f"opsets {sorted((o.domain, o.version) for o in model.opset_import)}"
    yield from (repr(f.SerializeToString(deterministic=True)) for f in model.functions)
    yield from _graph_lines(model.graph, {})


def _graph_lines(graph: GraphProto, outer: dict[str, str], level: str = "") -> Iterator[str]:
    """One line for each input, node and output.

    Computed values are numbered, so names do not matter; constants are written out where they are read, so it
    does not matter whether equal ones were merged (exporters do that by value: fresh biases are all zero).
    """
    known = dict(outer)
    constants = _constants(graph)
    structural = _structural(graph)
    known.update((name, _constant_text(tensor, name in structural)) for name, tensor in constants.items())
    count = 0
    for value in graph.input:
        if value.name not in constants:
            known[value.name] = f"{level}{(count := count + 1)}"
            yield f"input {_type_text(value)}"
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        for name in node.output:
            known[name] = f"{level}{(count := count + 1)}"
        read = [known.get(name, "-") for name in node.input]
        yield f"node {node.domain}:{node.op_type} {read} {len(node.output)}"
        for attribute in sorted(node.attribute, key=lambda a: a.name):
            yield from _attribute_lines(attribute, known, level)
    yield f"outputs {[(known.get(o.name), _type_text(o)) for o in graph.output]}"


def _attribute_lines(attribute: AttributeProto, known: dict[str, str], level: str) -> Iterator[str]:
    yield f"attribute {attribute.name}"
    if attribute.type == AttributeProto.GRAPH:
        yield from _graph_lines(attribute.g, known, f"{level}/")
    else:
        yield repr(attribute.SerializeToString(deterministic=True))


def _type_text(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    return f"{tensor.elem_type} {[d.dim_value if d.HasField('dim_value') else '?' for d in tensor.shape.dim]}"


def _constant_text(tensor: TensorProto, structural: bool) -> str:
    value = numpy_helper.to_array(tensor).tobytes().hex() if structural else "any"
    return f"{tensor.data_type} {list(tensor.dims)} {value}"


def _structural(graph: GraphProto) -> set[str]:
    """The names of the constants whose values count (see ``structure_key``)."""
    read_by: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            read_by.setdefault(name, set()).add(node.op_type)
    constants = _constants(graph)
    learnt = _limits_of_steps(graph, constants)
    return {
        name
        for name, tensor in constants.items()
        if name not in learnt and _is_structural(tensor, read_by.get(name, set()))
    }


def _limits_of_steps(graph: GraphProto, constants: Mapping[str, TensorProto]) -> set[str]:
    """The limits of each Clip that an int8 QuantizeLinear reads: multiples of its step."""
    clipped = {
        node.input[0]
        for node in graph.node
        if node.op_type == "QuantizeLinear"
        and len(node.input) > 2
        and node.input[2] in constants
        and constants[node.input[2]].data_type == TensorProto.INT8
    }
    clips = [node for node in graph.node if node.op_type == "Clip" and node.output[0] in clipped]
    return {name for node in clips for name in node.input[1:]}


def _is_structural(tensor: TensorProto, readers: set[str]) -> bool:
    if readers & set(_QUANTIZERS):
        return False
    return tensor.data_type not in _FLOATS or not tensor.dims or "Resize" in readers


def _program_lines(path: Path) -> Iterator[str]:
    """An exported torch program's nodes with their shapes; weights are inputs there, without values."""
    import torch

    for node in load_program(path).graph.nodes:
        values = node.meta.get("val")
        tensors = values if isinstance(values, tuple | list) else (values,)
        shapes = [(tuple(map(str, v.shape)), str(v.dtype)) for v in tensors if isinstance(v, torch.Tensor)]
        yield f"{node.op} {node.name} {node.target} {node.args} {node.kwargs} {shapes}"


def tensor_bytes(data_type: int, dims: Iterable[int]) -> int:
    """The bytes that a tensor's values take, packed as ONNX packs them: those of 4 bits two to a byte.

    Raises:
        KeyError: the type is none of ONNX's.
    """
    bits: dict[int, int] = {
        TensorProto.INT4: 4,
        TensorProto.UINT4: 4,
        TensorProto.FLOAT4E2M1: 4,
        TensorProto.INT2: 2,
        TensorProto.UINT2: 2,
    }
    size = bits.get(data_type, 0) or 8 * helper.tensor_dtype_to_np_dtype(data_type).itemsize
    return -(-math.prod(dims) * size // 8)
