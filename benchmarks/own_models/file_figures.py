"""A variant's figures from its ONNX file alone: weights, bits and multiply-accumulates.

Nothing of raysearch stands behind them, so that they can contradict it. Shapes are those of tensors that ONNX
Runtime gives when it runs a batch without any optimisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnx.onnx_ml_pb2 import GraphProto, ModelProto, NodeProto

from benchmarks.own_models.case import Array, Outputs

# How many of an operator's inputs are data or trained; steps, zero points and running statistics follow.
_TRAINED = {"QuantizeLinear": 1, "DequantizeLinear": 1, "BatchNormalization": 3}
_RECURRENT = ("LSTM", "GRU", "RNN")


def run(path: Path, batches: list[Mapping[str, Array]]) -> Outputs:
    """The file's outputs by name for all batches, each (n, ...)."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = [session.run(None, dict(batch)) for batch in batches]
    return {
        name: np.concatenate(column) for name, column in zip(names, zip(*given, strict=True), strict=True)
    }


def weights(path: Path) -> dict[str, Array]:
    """The trained tensors that the file holds: no steps, no statistics, no constants of the graph.

    A bias of a layer that is called again is held once more, in steps of that call; it is one weight.
    """
    graph = onnx.load(path).graph
    known = [(node, _TRAINED[node.op_type]) for node in graph.node if node.op_type in _TRAINED]
    others = {name for node, trained in known for name in node.input[trained:]}
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    return {
        name: array
        for name, array in tensors.items()
        if name not in others
        and not name.endswith("_again_codes")
        and array.dtype not in (np.int64, np.bool_)
    }


def macs(path: Path, batch: Mapping[str, Array]) -> int:
    """Multiply-accumulates of convolutions, matrix products and recurrent layers for a batch."""
    model = onnx.load(path)
    shapes = _shapes(model, batch)
    return sum(_macs(node, shapes) for node in model.graph.node)


def _shapes(model: ModelProto, batch: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    graph: GraphProto = model.graph
    known = {t.name: tuple(t.dims) for t in graph.initializer}
    known |= {name: array.shape for name, array in batch.items()}
    inner = [name for node in graph.node for name in node.output if name]
    kept = {output.name for output in graph.output}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in kept)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, dict(batch))
    return known | {name: np.shape(value) for name, value in zip(names, values, strict=True)}


def _macs(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "Gemm":
        inner = shapes[node.input[0]][0 if _attribute(node, "transA") else 1]
        return math.prod(shapes[node.output[0]]) * inner
    if node.op_type == "MatMul":
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type in _RECURRENT:
        steps, batch, _ = shapes[node.input[0]]
        return steps * batch * sum(math.prod(shapes[name]) for name in node.input[1:3])
    return 0


def _attribute(node: NodeProto, name: str) -> Any:
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)
