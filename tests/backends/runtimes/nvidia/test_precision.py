"""Float parts in fewer bits: the types are right, and so are the values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from zoo import NETWORKS, captured, uniform

from raysearch.backends.runtimes.nvidia.precision import in_precision
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.quantization import calibrate, insert_quantizers

LOW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def run(model: ModelProto, feed: Any) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)  # type: ignore[no-any-return]


def apart(given: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    pairs = zip(given, wanted, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def signed_file(name: str, folder: Path) -> ModelProto:
    module = insert_quantizers(captured(name), uniform(captured(name), 8, 8), unsigned_bits=7)
    calibrate(module, [NETWORKS[name].inputs(16)])
    export_onnx(module, folder / "model.onnx", "int8")
    return onnx.load(folder / "model.onnx")


@pytest.mark.parametrize("name", ["resnet", "u_net", "masked_encoder", "text", "dict_output", "lstm"])
def test_networks_compute_nearly_the_same(name: str, tmp_path: Path) -> None:
    model, feed = signed_file(name, tmp_path), feed_of(NETWORKS[name].inputs(5))
    half = in_precision(model, "fp16")
    assert apart(run(half, feed), run(model, feed)) < 0.03
    for dtype, low in LOW.items():
        changed = in_precision(model, dtype)
        onnx.shape_inference.infer_shapes(changed, check_type=True, strict_mode=True)
        kinds = {tensor.data_type for tensor in changed.graph.initializer}
        assert low in kinds
        assert TensorProto.FLOAT not in kinds
        for mine, given in (
            (changed.graph.input, model.graph.input),
            (changed.graph.output, model.graph.output),
        ):
            assert list(mine) == list(given)


def one(node: onnx.NodeProto, *shapes: Any, **constants: np.ndarray) -> ModelProto:
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip("xy", shapes, strict=True)
    ]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "g", values[:1], values[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_bf16_computes_as_onnx_defines_it() -> None:
    """ONNX Runtime's CPU kernels have none of it: ONNX's own slow ones do."""
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    model = one(helper.make_node("MatMul", ["x", "w"], ["y"]), [2, 4], [2, 3], w=weight)
    x = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    (found,) = ReferenceEvaluator(in_precision(model, "bf16")).run(None, {"x": x})
    assert 0 < np.abs(found - x @ weight).max() < 0.05


def test_fp32_is_left_alone() -> None:
    model = one(helper.make_node("Relu", ["x"], ["y"]), [2], [2])
    assert in_precision(model, "fp32") is model


def test_what_an_operator_has_in_float32_alone_stays_so() -> None:
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")
    model = one(node, [1, 1, 2, 2], [1, 1, 4, 4], scales=np.array([1, 1, 2, 2], np.float32))
    changed = in_precision(model, "fp16")
    (resize,) = [n for n in changed.graph.node if n.op_type == "Resize"]
    kinds = {tensor.name: tensor.data_type for tensor in changed.graph.initializer}
    assert kinds[resize.input[2]] == TensorProto.FLOAT  # a constant still
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(run(changed, {"x": x})[0], run(model, {"x": x})[0])


def test_branches_are_converted_with_what_they_read_from_outside() -> None:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [2])
        half = numpy_helper.from_array(np.array([0.5, 0.25], np.float32), f"{name}_c")
        nodes = [helper.make_node(operator, ["x", f"{name}_c"], [f"{name}_y"])]
        return helper.make_graph(nodes, name, [], [out], [half])

    node = helper.make_node(
        "If", ["c"], ["y"], then_branch=branch("a", "Add"), else_branch=branch("b", "Mul")
    )
    model = one(node, [2], [2])
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    changed = in_precision(model, "fp16")
    for condition in (True, False):
        feed = {"x": np.array([1, 3], np.float32), "c": np.array(condition)}
        np.testing.assert_array_equal(run(changed, feed)[0], run(model, feed)[0])
    assert "x_low" in {name for a in changed.graph.node[1].attribute for n in a.g.node for name in n.input}


def test_limits_beyond_the_type_become_infinities() -> None:
    model = one(helper.make_node("Clip", ["x", "low"], ["y"]), [2], [2], low=np.array(-3e38, np.float32))
    x = np.array([1, -2], np.float32)
    np.testing.assert_array_equal(run(in_precision(model, "fp16"), {"x": x})[0], x)
