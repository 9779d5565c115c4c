"""What a model file says without being run: its structure, MACs, parameters and memory.

MACs, parameters and memory are read from the ONNX form, also for targets that run another (a .pt2 file holds
the same network in float); the structure key knows both.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from raysearch.basics.failures import UserError

# Position of the weights among the inputs of the operators that multiply and accumulate.
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul")
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
# The output takes the place of the input where nobody else reads that: views, and operators that work in
# place.
_IN_PLACE = (
    *_QUANTIZERS,
    *("Relu", "Clip", "Dropout"),
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
)


def structure_key(path: Path) -> str:
    """A hash of the graph without its weights' values: equal keys run equally fast on the same runtime.

    Operators, attributes, shapes and types count, names do not. Which constants are weights is decided by who
    reads them: whatever a QuantizeLinear or DequantizeLinear reads is one. Elsewhere integers and booleans
    are structure (shapes, axes, pads, limits of an integer Clip), and so are float scalars and the scales of
    a Resize (limits, exponents, the constants by which runtimes recognise what to fuse); every other float
    tensor is a weight. Where that takes a learned scalar for structure, a model is measured once more than
    needed.

    Args:
        path: an ONNX or a .pt2 file.
    """
    lines = _program_lines(path) if path.suffix == ".pt2" else _model_lines(onnx.load(str(path)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def macs(path: Path) -> int:
    """Multiply-accumulates of convolutions and matrix products for one input, quantised ones included."""
    graph = _Graph.load(path)
    return sum(_node_macs(node, graph) for node in graph.nodes)


def params(path: Path) -> int:
    """Number of weights and biases, however many bits each has; quantisation scales are not counted."""
    graph = _Graph.load(path)
    return sum(math.prod(tensor.dims) for tensor in graph.weights())


def weights_mb(path: Path) -> float:
    """Weights and biases in megabytes (1e6 bytes), each in the type that it is stored in."""
    return _weights_bytes(_Graph.load(path)) / 1e6


def peak_memory_mb(path: Path) -> float:
    """Weights plus the largest sum of tensors alive at once, in megabytes (1e6 bytes), for one input.

    Each tensor counts in its own type. Quantisation is taken as fused into its neighbours: what a
    QuantizeLinear writes counts, the float tensor that only it reads does not; views and in-place activations
    cost nothing.
    """
    graph = _Graph.load(path)
    return (_weights_bytes(graph) + _peak_activations(graph)) / 1e6


@dataclass
class _Graph:
    """A model's main graph at batch 1, with what shape inference found."""

    nodes: list[NodeProto]
    constants: dict[str, TensorProto]
    inputs: list[str]
    outputs: list[str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> _Graph:
        model = onnx.load(str(path))
        constants = _constants(model.graph)
        inputs = [i for i in model.graph.input if i.name not in constants]
        for value in inputs:
            if value.type.tensor_type.shape.dim:
                value.type.tensor_type.shape.dim[0].dim_value = 1
        del model.graph.value_info[:]  # the exporter's own are for a symbolic batch
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        graph = cls(
            nodes=[n for n in inferred.node if n.op_type != "Constant"],
            constants=constants,
            inputs=[i.name for i in inputs],
            outputs=[o.name for o in inferred.output],
        )
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            tensor = value.type.tensor_type
            graph.types[value.name] = tensor.elem_type
            if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
                graph.shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
        for name, constant in constants.items():
            graph.shapes[name], graph.types[name] = tuple(constant.dims), constant.data_type
        return graph

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            ValueError: shape inference did not find it.
        """
        if name not in self.shapes:
            raise UserError(f"the shape of tensor {name!r} is not known: ONNX cannot infer it from the graph")
        return self.shapes[name]

    def bytes(self, name: str) -> int:
        """The size of a tensor of known shape."""
        shape = self.shape(name)
        return _tensor_bytes(self.types[name], shape)

    def weights(self) -> list[TensorProto]:
        """The constants that hold learned numbers, without quantisation scales and zero points."""
        scales = {name for n in self.nodes if n.op_type in _QUANTIZERS for name in n.input[1:]}
        quantized = {n.input[0] for n in self.nodes if n.op_type == "DequantizeLinear"}
        return [
            tensor
            for name, tensor in self.constants.items()
            if name in quantized or (tensor.data_type in _FLOATS and tensor.dims and name not in scales)
        ]


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
    return {
        name for name, tensor in _constants(graph).items() if _is_structural(tensor, read_by.get(name, set()))
    }


def _is_structural(tensor: TensorProto, readers: set[str]) -> bool:
    if readers & set(_QUANTIZERS):
        return False
    return tensor.data_type not in _FLOATS or not tensor.dims or "Resize" in readers


def _program_lines(path: Path) -> Iterator[str]:
    """An exported torch program's nodes with their shapes; weights are inputs there, without values."""
    import torch

    for node in torch.export.load(str(path)).graph.nodes:
        values = node.meta.get("val")
        tensors = values if isinstance(values, tuple | list) else (values,)
        shapes = [(tuple(map(str, v.shape)), str(v.dtype)) for v in tensors if isinstance(v, torch.Tensor)]
        yield f"{node.op} {node.name} {node.target} {node.args} {node.kwargs} {shapes}"


def _node_macs(node: NodeProto, graph: _Graph) -> int:
    if node.op_type in _CONVOLUTIONS:
        weight = graph.shape(node.input[_CONVOLUTIONS[node.op_type]])
        return math.prod(graph.shape(node.output[0])) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(graph.shape(node.input[0])) * math.prod(graph.shape(node.input[1])[1:])
    if node.op_type in _PRODUCTS:
        left = graph.shape(node.input[0])
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(graph.shape(node.output[0])) * (left[0] if transposed else left[-1])
    return 0


def _weights_bytes(graph: _Graph) -> int:
    return sum(_tensor_bytes(t.data_type, t.dims) for t in graph.weights())


def _tensor_bytes(data_type: int, dims: Iterable[int]) -> int:
    bits: dict[int, int] = {
        TensorProto.INT4: 4,
        TensorProto.UINT4: 4,
        TensorProto.INT2: 2,
        TensorProto.UINT2: 2,
    }
    size = bits.get(data_type, 0) or 8 * helper.tensor_dtype_to_np_dtype(data_type).itemsize
    return math.ceil(math.prod(dims) * size / 8)


def _peak_activations(graph: _Graph) -> int:
    """The largest sum of bytes of buffers that are alive during one node."""
    buffer, size = _buffers(graph)
    last_use = {buffer[name]: i for i, n in enumerate(graph.nodes) for name in n.input if name in buffer}
    last_use.update({buffer[name]: len(graph.nodes) for name in graph.outputs if name in buffer})
    alive = {buffer[name] for name in graph.inputs}
    peak = sum(size[b] for b in alive)
    for i, node in enumerate(graph.nodes):
        alive |= {buffer[name] for name in node.output if name in buffer}
        peak = max(peak, sum(size[b] for b in alive))
        alive = {b for b in alive if last_use.get(b, -1) > i}
    return peak


def _buffers(graph: _Graph) -> tuple[dict[str, str], dict[str, int]]:
    """The buffer of each tensor, and each buffer's bytes (of its smallest tensor: what is stored)."""
    readers: dict[str, int] = {}
    for name in (*(name for n in graph.nodes for name in n.input), *graph.outputs):
        readers[name] = readers.get(name, 0) + 1
    buffer = {name: name for name in graph.inputs}
    size = {name: graph.bytes(name) for name in graph.inputs}
    for node in graph.nodes:
        if not any(name in buffer for name in node.input):
            continue  # computed from constants alone: folded into the weights
        first = node.input[0]
        # A caller's input is given as it is: nothing is stored in its place in another form.
        shares = node.op_type in _IN_PLACE and readers[first] == 1 and buffer.get(first) not in graph.inputs
        for name in filter(None, node.output):
            bytes_ = graph.bytes(name)
            buffer[name] = buffer[first] if shares else name
            size[buffer[name]] = min(bytes_, size[buffer[name]]) if shares else bytes_
    return buffer, size
