"""What model files say without being run: structure keys, and what their weights weigh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from raysearch.backends.structure import structure_key, weights_mb


def write(path: Path, nodes, constants) -> Path:
    """An ONNX file from "x" (float) to "y"."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", 4))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.example", 1)],
    )
    onnx.save(model, str(path))
    return path


def node(op: str, *names: str, **attributes):
    return helper.make_node(op, list(names[:-1]), [names[-1]], **attributes)


def test_key_ignores_weights_and_names(export, tmp_path):
    assert structure_key(export(8, seed=0)) == structure_key(export(8, seed=1))
    model = onnx.load(str(export(8)))
    for item in model.graph.node:
        item.name = item.name + "_renamed"
    onnx.save(model, str(tmp_path / "renamed.onnx"))
    assert structure_key(tmp_path / "renamed.onnx") == structure_key(export(8))


def test_key_sees_widths(export):
    assert structure_key(export(8)) != structure_key(export(16))
    assert len(structure_key(export(8))) == 16


def test_key_of_a_torch_program(export):
    first, other_weights, wider = (export(w, s, ".pt2") for w, s in ((8, 0), (8, 1), (16, 0)))
    assert structure_key(first) == structure_key(other_weights)
    assert structure_key(first) != structure_key(wider)


@pytest.mark.parametrize(
    ("name", "nodes", "first", "second", "same"),
    [
        ("shape", [node("Reshape", "x", "c", "y")], np.array([2, -1]), np.array([4, -1]), False),
        ("axes", [node("ReduceMean", "x", "c", "y")], np.array([0]), np.array([1]), False),
        ("limit", [node("Clip", "x", "c", "y")], np.float32(0), np.float32(-1), False),
        (
            "limit of a signed step",
            [
                node("Clip", "x", "c", "d"),
                node("QuantizeLinear", "d", "s", "z", "q"),
                node("Cast", "q", "y", to=1),
            ],
            np.float32(0),
            np.float32(-1),
            True,
        ),
        ("bias", [node("Add", "x", "c", "y")], np.zeros(4, np.float32), np.ones(4, np.float32), True),
        (
            "type",
            [node("Cast", "c", "d", to=1), node("Add", "x", "d", "y")],
            np.zeros(4, np.float32),
            np.zeros(4, np.float16),
            False,
        ),
        (
            "scale",
            [node("QuantizeLinear", "x", "c", "q"), node("DequantizeLinear", "q", "c", "y")],
            np.float32(0.1),
            np.float32(0.2),
            True,
        ),
        (
            "integer weight",
            [node("DequantizeLinear", "c", "s", "w"), node("Add", "x", "w", "y")],
            np.ones(4, np.int8),
            np.zeros(4, np.int8),
            True,
        ),
    ],
)
def test_which_constants_are_structure(tmp_path, name, nodes, first, second, same):
    shared = {"s": np.float32(0.1), "z": np.int8(0)}
    keys = [
        structure_key(write(tmp_path / f"{i}.onnx", nodes, {"c": np.asarray(value), **shared}))
        for i, value in enumerate((first, second))
    ]
    assert (keys[0] == keys[1]) == same


def test_key_ignores_whether_equal_weights_were_merged(tmp_path):
    bias = np.zeros(4, np.float32)
    apart = write(
        tmp_path / "a.onnx", [node("Add", "x", "a", "t"), node("Mul", "t", "b", "y")], {"a": bias, "b": bias}
    )
    merged = write(tmp_path / "m.onnx", [node("Add", "x", "a", "t"), node("Mul", "t", "a", "y")], {"a": bias})
    assert structure_key(apart) == structure_key(merged)


def test_key_looks_into_branches(tmp_path):
    def branching(op: str) -> Path:
        branches = [
            helper.make_graph([node(o, "x", "r")], o, [], [helper.make_tensor_value_info("r", 1, None)])
            for o in (op, "Relu")
        ]
        nodes = [
            node("ReduceMax", "x", "top"),
            node("Reshape", "top", "s", "scalar"),
            node("Greater", "scalar", "zero", "positive"),
            node("If", "positive", "y", then_branch=branches[0], else_branch=branches[1]),
        ]
        constants = {"s": np.array([1]), "zero": np.zeros(1, np.float32)}
        return write(tmp_path / f"{op}.onnx", nodes, constants)

    assert structure_key(branching("Sigmoid")) != structure_key(branching("Tanh"))
    assert structure_key(branching("Tanh")) == structure_key(branching("Tanh"))


def test_key_sees_attributes_and_wiring(tmp_path):
    constants = {"a": np.ones(4, np.float32), "b": np.ones(4, np.float32)}
    variants = [
        [node("Softmax", "x", "y", axis=1)],
        [node("Softmax", "x", "y", axis=0)],
        [node("Sub", "x", "a", "y")],
        [node("Sub", "a", "x", "y")],
    ]
    keys = {structure_key(write(tmp_path / f"{i}.onnx", n, constants)) for i, n in enumerate(variants)}
    assert len(keys) == len(variants)


def test_a_constant_node_counts_like_an_initialiser(tmp_path):
    def with_shape(value: int) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Constant", [], ["c"], value_ints=[value, -1]),
            node("Reshape", "x", "c", "y"),
        ]

    keys = {structure_key(write(tmp_path / f"{v}.onnx", with_shape(v), {})) for v in (2, 4)}
    assert len(keys) == 2


def test_weights_and_biases_count_in_the_type_they_are_stored_in(export, tmp_path):
    # 8 x 1 x 9 + 8, 8 x 4 x 9 + 8, 10 x 128 + 10 float32
    assert weights_mb(export(8)) == pytest.approx(4 * (80 + 296 + 1290) / 1e6)
    nodes = [
        node("QuantizeLinear", "x", "s", "z", "q"),
        node("DequantizeLinear", "q", "s", "z", "d"),
        node("DequantizeLinear", "w", "s", "e"),
        node("DequantizeLinear", "b", "s", "c"),
        node("Gemm", "d", "e", "c", "y"),
    ]
    constants = {
        "s": np.float32(0.1),
        "z": np.uint8(3),
        "w": np.ones((4, 3), np.int8),
        "b": np.ones(3, np.int32),
    }
    assert weights_mb(write(tmp_path / "q.onnx", nodes, constants)) == pytest.approx((12 + 4 * 3) / 1e6)


def test_shapes_and_scalars_weigh_nothing(tmp_path):
    nodes = [node("Reshape", "x", "c", "r"), node("Mul", "r", "m", "t"), node("Cast", "h", "i", to=1)]
    nodes.append(node("Add", "t", "i", "y"))
    constants = {"c": np.array([-1, 4]), "m": np.float32(2), "h": np.zeros(4, np.float16)}
    assert weights_mb(write(tmp_path / "s.onnx", nodes, constants)) == pytest.approx(8 / 1e6)
