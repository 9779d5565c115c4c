"""The operators of an ONNX file, as a runtime fuses them; of weights only shapes and types are read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, inliner, shape_inference

from raysearch.backends.predictor.operators import Operator, products
from raysearch.basics.failures import UserError, first_line

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_PLAIN = {"QLinearConv": "Conv", "ConvInteger": "Conv", "QLinearMatMul": "MatMul", "MatMulInteger": "MatMul"}
"""What computes in integers by its name, and its name in float."""
_CONVOLUTIONS, _PRODUCTS = ("Conv", "ConvTranspose"), ("Gemm", "MatMul")
_RECURRENT = ("LSTM", "GRU", "RNN")
_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish")
_FREE = ("Constant", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "Shape")
"""What computes nothing: it says how a tensor is read."""


def operators_of(path: Path) -> list[Operator]:
    """The operators of a model file, for a batch of one; every axis of unknown size counts as 1.

    Quantisers and dequantisers around an operator that a runtime computes in integers belong to it, and so
    does an activation behind a convolution or a product. Bodies of control flow count once, unknown operators
    by the bytes that they move.

    Raises:
        UserError: the file is no ONNX model.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # of protobuf and the file system, without a common base class
        raise UserError(f"{path} is not an ONNX model: {first_line(error)}") from error
    if not model.graph.node:
        raise UserError(f"{path} is not an ONNX model: its graph has no operator")
    return list(_Graph(_with_shapes(model).graph, {}, {}).operators())


def _with_shapes(model: ModelProto) -> ModelProto:
    """The model with axes that vary of size 1, and as many shapes as can be known."""
    for value in model.graph.input:
        for size in value.type.tensor_type.shape.dim:
            if not size.HasField("dim_value"):
                size.dim_value = 1
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        model = inliner.inline_local_functions(model)
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # C++ exceptions of several kinds: where shapes contradict each other none is known
        return model


class _Graph:
    """A graph, or the body of a node.

    Args:
        graph: its nodes and what is known of its tensors.
        shapes, types: of the tensors around it, by name.
    """

    def __init__(self, graph: GraphProto, shapes: dict[str, list[int]], types: dict[str, int]) -> None:
        self._nodes = graph.node
        self._shapes, self._types = dict(shapes), dict(types)
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            self._types[value.name] = tensor.elem_type
            if tensor.HasField("shape"):
                self._shapes[value.name] = [size.dim_value or 1 for size in tensor.shape.dim]
        self._constants = {constant.name for constant in graph.initializer}
        for constant in graph.initializer:
            self._shapes[constant.name], self._types[constant.name] = list(constant.dims), constant.data_type
        self._maker = {name: node for node in graph.node for name in node.output if name}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in _read(node):
                self._readers.setdefault(name, []).append(node)
        self._outputs = {value.name for value in graph.output}
        self._needed = self._found_needed()

    def operators(self) -> Iterator[Operator]:
        """What is run, in the file's order."""
        for node in self._nodes:
            for body in _bodies(node):
                yield from _Graph(body, self._shapes, self._types).operators()
            if not self._belongs_to_another(node):
                yield self._operator(node)

    def _found_needed(self) -> set[int]:
        """The nodes that an output depends on, by id."""
        left, found = [*self._outputs], set[int]()
        while left:
            node = self._maker.get(left.pop())
            if node is not None and id(node) not in found:
                found.add(id(node))
                left.extend(_read(node))
        return found

    def _operator(self, node: NodeProto) -> Operator:
        integer = self._in_integers(node)
        tensors = [name for name in (*node.input, *node.output) if name]
        moved = sum(self._elements(name) * (1 if integer else self._item_bytes(name)) for name in tensors)
        idle = id(node) not in self._needed
        return Operator(
            self._kind(node), moved=float(moved), integer=integer, idle=idle, **self._products(node)
        )

    def _kind(self, node: NodeProto) -> str:
        """The operator's name; of convolutions with the kernel's sizes and how channels are grouped."""
        name = _PLAIN.get(node.op_type, node.op_type)
        shape = self._shape(_weights(node))
        if name not in _CONVOLUTIONS or shape is None:
            return name
        groups = _integer(node, "group", 1)
        depthwise = groups > 1 and groups == shape[0]
        grouped = " depthwise" if depthwise else " grouped" if groups > 1 else ""
        return f"{name} {'x'.join(map(str, shape[2:]))}{grouped}{self._weights_kind(node)}"

    def _weights_kind(self, node: NodeProto) -> str:
        """What keeps a runtime from preparing weights when it loads the file, or makes it quantise them."""
        weights = _weights(node)
        if self._in_integers(node):
            return " of float weights" if weights in self._constants and self._item_bytes(weights) > 1 else ""
        return "" if weights in self._constants else " of computed weights"

    def _products(self, node: NodeProto) -> dict[str, float]:
        """What it sums; nothing where its weights' shape is not known."""
        name, shape = _PLAIN.get(node.op_type, node.op_type), self._shape(_weights(node))
        if name in _CONVOLUTIONS and shape and len(shape) > 2:
            turned, groups = name == "ConvTranspose", _integer(node, "group", 1)
            given, made = (shape[0], shape[1] * groups) if turned else (shape[1] * groups, shape[0])
            there = node.input[0] if turned else node.output[0]
            positions = self._elements(there) // max(1, given if turned else made)
            return products(given, made, positions, math.prod(shape[2:]), groups)
        if name in _PRODUCTS and shape and len(shape) > 1:
            made, given = shape[-2:] if _integer(node, "transB", 0) else shape[:-3:-1]
            sums = products(given, made, self._elements(node.output[0]) // max(1, made))
            return {**sums, "gathered": 0.0}
        if name in _RECURRENT and (read := self._shape(node.input[0])):
            weights = sum(self._elements(name) for name in node.input[1:3])
            return {"macs": float(math.prod(read[:2]) * weights)}
        return {}

    def _in_integers(self, node: NodeProto) -> bool:
        """Whether a runtime computes a node in integers: it stands between dequantisers and quantisers.

        Float weights that are constant are then quantised by the runtime. A product with quantised weights
        may leave its sums in float.
        """
        if node.op_type in _PLAIN:
            return True
        if node.op_type in (_QUANTIZE, _DEQUANTIZE, *_FREE):
            return False
        weights = _weights(node) if node.op_type in (*_CONVOLUTIONS, *_PRODUCTS) else ""
        floats = [name for name in node.input[:2] if name and name != weights and self._item_bytes(name) > 1]
        if not floats or any(self._made_by(name) != _DEQUANTIZE for name in floats):
            return False
        quantized = not weights or self._made_by(weights) == _DEQUANTIZE
        if node.op_type in _PRODUCTS and quantized:
            return True
        return (quantized or weights in self._constants) and all(map(self._is_quantized, node.output))

    def _is_quantized(self, name: str) -> bool:
        """Whether a tensor is only read by quantisers, at most behind an activation."""
        readers = self._readers.get(name, [])
        if name in self._outputs or not readers:
            return False
        return all(
            reader.op_type == _QUANTIZE
            or (reader.op_type in (*_ACTIVATIONS, *_FREE) and self._is_quantized(reader.output[0]))
            for reader in readers
        )

    def _made_by(self, name: str) -> str | None:
        """The type of operator that made a tensor, before what only says how it is read."""
        node = self._maker.get(name)
        while node is not None and node.op_type in _FREE and node.input:
            node = self._maker.get(node.input[0])
        return None if node is None else node.op_type

    def _belongs_to_another(self, node: NodeProto) -> bool:
        if node.op_type in _FREE:
            return True
        if node.op_type == _DEQUANTIZE:
            readers = self._behind(node.output[0])
            return bool(readers) and all(map(self._in_integers, readers))
        maker = self._maker.get(node.input[0]) if node.input else None
        while maker is not None and maker.input and (maker.op_type in _FREE or self._is_fused(maker)):
            maker = self._maker.get(maker.input[0])
        if maker is None:
            return False
        return self._is_fused(node) or (node.op_type == _QUANTIZE and self._in_integers(maker))

    def _behind(self, name: str) -> list[NodeProto]:
        """Who reads a tensor, behind what only says how it is read."""
        found = []
        for node in self._readers.get(name, []):
            found += self._behind(node.output[0]) if node.op_type in _FREE else [node]
        return found

    def _is_fused(self, node: NodeProto) -> bool:
        """Whether a node is an activation that the operator before it computes as well."""
        if node.op_type not in _ACTIVATIONS or len(self._readers.get(node.input[0], [])) > 1:
            return False
        maker = self._maker.get(node.input[0])
        if maker is None:
            return False
        name = _PLAIN.get(maker.op_type, maker.op_type)
        return name in (*_CONVOLUTIONS, *_PRODUCTS) or self._in_integers(maker)

    def _shape(self, name: str) -> list[int] | None:
        return self._shapes.get(name)

    def _elements(self, name: str) -> int:
        shape = self._shape(name)
        return 0 if shape is None else math.prod(shape)

    def _item_bytes(self, name: str) -> int:
        kind = self._types.get(name, 0)
        if kind in (0, onnx.TensorProto.STRING):
            return 4
        return int(helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _bodies(node: NodeProto) -> list[GraphProto]:
    """The graphs inside a node."""
    single = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
    return single + [body for a in node.attribute if a.type == AttributeProto.GRAPHS for body in a.graphs]


def _read(node: NodeProto) -> Iterator[str]:
    """The names of the tensors that a node, or one of its bodies, reads."""
    yield from (name for name in node.input if name)
    for body in _bodies(node):
        for inner in body.node:
            yield from _read(inner)
        yield from (value.name for value in body.output)


def _weights(node: NodeProto) -> str:
    """The name of the input that holds a convolution's or a product's weights."""
    place = 3 if node.op_type.startswith("QLinear") else 1
    return node.input[place] if len(node.input) > place else ""


def _integer(node: NodeProto, name: str, default: int) -> int:
    """An attribute of a node."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)
