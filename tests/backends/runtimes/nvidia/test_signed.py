"""What TensorRT would compute otherwise than it is written is found, wherever it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from raysearch.backends.runtimes.nvidia.signed import objection


def model_of(nodes: list[onnx.NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def pair(zero_point: Any, *, named: bool = True) -> onnx.ModelProto:
    names = ["scale", "zero"] if named else ["scale"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *names], ["q"]),
        helper.make_node("DequantizeLinear", ["q", *names], ["y"]),
    ]
    return model_of(nodes, scale=np.array(0.5, np.float32), zero=np.asarray(zero_point))


def test_signed_quantisers_around_zero_are_taken() -> None:
    assert objection(pair(np.int8(0))) is None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            pair(np.uint8(0)),
            "QuantizeLinear of 'x' has a zero point in uint8, which TensorRT does not compute",
        ),
        (pair(np.int8(-128)), "a zero point that is not 0"),
        (pair(np.int8(0), named=False), "no zero point, and so one in uint8"),
    ],
)
def test_others_are_not(model: onnx.ModelProto, reason: str) -> None:
    assert reason in str(objection(model))


def test_a_bias_in_int32_is_not() -> None:
    nodes = [helper.make_node("DequantizeLinear", ["codes", "scale"], ["y"], axis=0)]
    model = model_of(nodes, codes=np.zeros(2, np.int32), scale=np.ones(2, np.float32))
    assert "DequantizeLinear of 'codes' has values in int32" in str(objection(model))


def test_branches_are_looked_into() -> None:
    inner = pair(np.uint8(0)).graph
    branches = {name: helper.make_graph(inner.node, name, [], inner.output) for name in ("then", "else")}
    for branch in branches.values():
        branch.initializer.extend(inner.initializer)
    node = helper.make_node("If", ["c"], ["z"], then_branch=branches["then"], else_branch=branches["else"])
    assert "uint8" in str(objection(model_of([node], c=np.array(True))))
