"""What an ONNX file says of its operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from raysearch.backends.predictor import features, operators_of
from raysearch.basics.failures import UserError

WEIGHTS = {
    "w": np.zeros((8, 3, 3, 3), np.float32),
    "w8": np.zeros((8, 3, 3, 3), np.int8),
    "b": np.zeros(8, np.float32),
    "s": np.array(0.1, np.float32),
    "z": np.array(0, np.uint8),
    "z8": np.array(0, np.int8),
}


def node(op: str, *names: str, **attributes):
    """A node whose last name is its output."""
    return helper.make_node(op, list(names[:-1]), [names[-1]], **attributes)


def write(
    path: Path, nodes, *, inputs=("batch", 3, 10, 10), outputs=("y",), constants=None, functions=()
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or WEIGHTS).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=list(functions)), str(path))
    return path


def quantized(before: str, after: str):
    return [
        node("QuantizeLinear", before, "s", "z", f"{after}_q"),
        node("DequantizeLinear", f"{after}_q", "s", "z", after),
    ]


def test_a_convolution_and_its_activation_are_one(tmp_path):
    path = write(tmp_path / "m.onnx", [node("Conv", "x", "w", "b", "c"), node("Relu", "c", "y")])
    (operator,) = operators_of(path)
    assert operator.kind == "Conv 3x3"
    assert operator.macs == 64 * 8 * 27
    assert operator.padded == 64 * 9 * 16 * 16
    assert operator.moved == 4 * (300 + 8 * 27 + 8 + 8 * 64)
    assert not operator.integer
    assert not operator.idle


def test_an_activation_of_what_others_read_is_its_own(tmp_path):
    nodes = [node("Conv", "x", "w", "c"), node("Relu", "c", "r"), node("Add", "c", "r", "y")]
    assert [one.kind for one in operators_of(write(tmp_path / "m.onnx", nodes))] == [
        "Conv 3x3",
        "Relu",
        "Add",
    ]


@pytest.mark.parametrize("weights", ["float", "integer"])
def test_quantisers_around_a_convolution_belong_to_it(tmp_path, weights):
    kernel = [node("DequantizeLinear", "w8", "s", "z8", "wd")] if weights == "integer" else []
    nodes = [
        *kernel,
        *quantized("x", "xd"),
        node("Conv", "xd", "wd" if kernel else "w", "c"),
        node("Relu", "c", "r"),
        *quantized("r", "rd"),
        node("MaxPool", "rd", "y", kernel_shape=[2, 2]),
    ]
    found = features(operators_of(write(tmp_path / "m.onnx", nodes)))
    kind = "Conv 3x3 in integers" if kernel else "Conv 3x3 of float weights in integers"
    assert found[f"{kind}/macs"] == 64 * 8 * 27
    counts = {name.removesuffix("/count") for name in found if name.endswith("/count")}
    # The input's quantiser stays, and the dequantiser before what is computed in float.
    assert counts == {kind, "QuantizeLinear", "DequantizeLinear", "MaxPool"}
    assert found["DequantizeLinear/count"] == 1


def test_quantised_weights_alone_are_computed_in_float(tmp_path):
    nodes = [node("DequantizeLinear", "w8", "s", "z8", "wd"), node("Conv", "x", "wd", "y")]
    found = features(operators_of(write(tmp_path / "m.onnx", nodes)))
    assert {"Conv 3x3 of computed weights/count", "DequantizeLinear/count"} <= set(found)


def test_names_do_not_matter(tmp_path):
    nodes = [node("Conv", "x", "w", "b", "c"), node("Relu", "c", "r"), node("GlobalAveragePool", "r", "y")]
    path = write(tmp_path / "m.onnx", nodes)
    model = onnx.load(str(path))
    for item in model.graph.node:
        item.name = f"{item.name}_renamed"
        item.input[:] = [f"other_{name}" for name in item.input]
        item.output[:] = [f"other_{name}" for name in item.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = f"other_{value.name}"
    onnx.save(model, str(tmp_path / "renamed.onnx"))
    assert features(operators_of(path)) == features(operators_of(tmp_path / "renamed.onnx"))


def test_the_batch_counts_as_one(tmp_path):
    nodes = [node("Conv", "x", "w", "y")]
    dynamic = operators_of(write(tmp_path / "a.onnx", nodes))
    assert dynamic == operators_of(write(tmp_path / "b.onnx", nodes, inputs=(1, 3, 10, 10)))


def test_what_no_output_depends_on_is_idle(tmp_path):
    nodes = [node("Conv", "x", "w", "c"), node("Exp", "x", "y")]
    assert {one.kind: one.idle for one in operators_of(write(tmp_path / "m.onnx", nodes))} == {
        "Conv 3x3": True,
        "Exp": False,
    }


@pytest.mark.parametrize(
    ("weights", "attributes", "kind", "macs"),
    [
        ((3, 1, 3, 3), {"group": 3}, "Conv 3x3 depthwise", 64 * 3 * 9),
        ((6, 1, 3, 3), {"group": 3}, "Conv 3x3 grouped", 64 * 6 * 9),
        ((4, 3, 1, 1), {"strides": [2, 2]}, "Conv 1x1", 25 * 12),
    ],
)
def test_kinds_of_convolutions(tmp_path, weights, attributes, kind, macs):
    nodes = [node("Conv", "x", "w", "y", **attributes)]
    (found,) = operators_of(write(tmp_path / "m.onnx", nodes, constants={"w": np.zeros(weights, np.float32)}))
    assert (found.kind, found.macs) == (kind, macs)


@pytest.mark.parametrize(("weights", "attributes"), [((10, 5), {}), ((5, 10), {"transB": 1})])
def test_products_of_matrices(tmp_path, weights, attributes):
    nodes = [node("Gemm", "x", "w", "y", **attributes)]
    constants = {"w": np.zeros(weights, np.float32)}
    (found,) = operators_of(write(tmp_path / "m.onnx", nodes, inputs=(4, 10), constants=constants))
    assert (found.macs, found.padded) == (4 * 50, 4 * 256)


def test_control_flow_and_unknown_operators_count(tmp_path):
    inner = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    then, other = (helper.make_graph([node(op, "x", "z")], op, [], inner) for op in ("Exp", "Neg"))
    nodes = [
        helper.make_node("Secret", ["x"], ["u"], domain="com.example"),
        node("If", "yes", "v", then_branch=then, else_branch=other),
        node("Add", "u", "v", "y"),
    ]
    path = write(tmp_path / "m.onnx", nodes, constants={"yes": np.array(True)})
    found = features(operators_of(path))
    assert {"Secret/count", "If/count", "Exp/count", "Neg/count", "Add/count"} <= set(found)
    assert found["Exp/bytes"] == 2 * 4 * 300
    assert found["Secret/bytes"] == 4 * 300  # of its output nothing is known


def test_functions_of_the_model_are_opened(tmp_path):
    function = helper.make_function(
        "com.example", "Twice", ["a"], ["c"], [node("Add", "a", "a", "c")], [helper.make_opsetid("", 17)]
    )
    nodes = [helper.make_node("Twice", ["x"], ["y"], domain="com.example")]
    (found,) = operators_of(write(tmp_path / "m.onnx", nodes, functions=[function]))
    assert found.kind == "Add"


def test_a_recurrent_layer_sums_its_weights_at_every_step(tmp_path):
    constants = {"w": np.zeros((1, 16, 3), np.float32), "r": np.zeros((1, 16, 4), np.float32)}
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4)]
    (found,) = operators_of(write(tmp_path / "m.onnx", nodes, inputs=(7, 1, 3), constants=constants))
    assert found.macs == 7 * 16 * 7


def test_shapes_that_contradict_each_other_are_not_known(tmp_path):
    nodes = [node("Conv", "x", "w", "c"), node("Add", "c", "b3", "y")]
    path = write(tmp_path / "m.onnx", nodes, constants={**WEIGHTS, "b3": np.zeros((1, 3, 7, 7), np.float32)})
    assert [one.kind for one in operators_of(path)] == ["Conv 3x3", "Add"]


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07"])
def test_no_model_is_refused(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"m\.onnx is not an ONNX model"):
        operators_of(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.onnx is not an ONNX model"):
        operators_of(tmp_path / "nowhere.onnx")


def test_our_own_export(export):
    found = features(operators_of(export(8)))
    assert {"Conv 3x3/count", "Conv 3x3 grouped/count", "MaxPool/count", "Gemm/count"} <= set(found)
