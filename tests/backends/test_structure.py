"""Static figures of model files: structure keys, MACs, parameters, memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from raysearch.backends import graph
from raysearch.backends.static_int8 import static_int8

from .conftest import small_net


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
    assert graph.structure_key(export(8, seed=0)) == graph.structure_key(export(8, seed=1))
    model = onnx.load(str(export(8)))
    for item in model.graph.node:
        item.name = item.name + "_renamed"
    onnx.save(model, str(tmp_path / "renamed.onnx"))
    assert graph.structure_key(tmp_path / "renamed.onnx") == graph.structure_key(export(8))


def test_key_sees_widths(export):
    assert graph.structure_key(export(8)) != graph.structure_key(export(16))
    assert len(graph.structure_key(export(8))) == 16


def test_key_of_a_torch_program(export):
    first, other_weights, wider = (export(w, s, ".pt2") for w, s in ((8, 0), (8, 1), (16, 0)))
    assert graph.structure_key(first) == graph.structure_key(other_weights)
    assert graph.structure_key(first) != graph.structure_key(wider)


@pytest.mark.parametrize(
    ("name", "nodes", "first", "second", "same"),
    [
        ("shape", [node("Reshape", "x", "c", "y")], np.array([2, -1]), np.array([4, -1]), False),
        ("axes", [node("ReduceMean", "x", "c", "y")], np.array([0]), np.array([1]), False),
        ("limit", [node("Clip", "x", "c", "y")], np.float32(0), np.float32(-1), False),
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
    shared = {"s": np.float32(0.1)} if name == "integer weight" else {}
    keys = [
        graph.structure_key(write(tmp_path / f"{i}.onnx", nodes, {"c": np.asarray(value), **shared}))
        for i, value in enumerate((first, second))
    ]
    assert (keys[0] == keys[1]) == same


def test_key_ignores_whether_equal_weights_were_merged(tmp_path):
    bias = np.zeros(4, np.float32)
    apart = write(
        tmp_path / "a.onnx", [node("Add", "x", "a", "t"), node("Mul", "t", "b", "y")], {"a": bias, "b": bias}
    )
    merged = write(tmp_path / "m.onnx", [node("Add", "x", "a", "t"), node("Mul", "t", "a", "y")], {"a": bias})
    assert graph.structure_key(apart) == graph.structure_key(merged)


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

    assert graph.structure_key(branching("Sigmoid")) != graph.structure_key(branching("Tanh"))
    assert graph.structure_key(branching("Tanh")) == graph.structure_key(branching("Tanh"))


def test_key_sees_attributes_and_wiring(tmp_path):
    constants = {"a": np.ones(4, np.float32), "b": np.ones(4, np.float32)}
    variants = [
        [node("Softmax", "x", "y", axis=1)],
        [node("Softmax", "x", "y", axis=0)],
        [node("Sub", "x", "a", "y")],
        [node("Sub", "a", "x", "y")],
    ]
    keys = {graph.structure_key(write(tmp_path / f"{i}.onnx", n, constants)) for i, n in enumerate(variants)}
    assert len(keys) == len(variants)


def test_a_constant_node_counts_like_an_initialiser(tmp_path):
    def with_shape(value: int) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Constant", [], ["c"], value_ints=[value, -1]),
            node("Reshape", "x", "c", "y"),
        ]

    keys = {graph.structure_key(write(tmp_path / f"{v}.onnx", with_shape(v), {})) for v in (2, 4)}
    assert len(keys) == 2


@pytest.mark.parametrize("width", [8, 16])
def test_macs_equal_torch(export, width):
    with FlopCounterMode(display=False) as counter:
        small_net(width)(torch.zeros(1, 1, 8, 8))
    assert graph.macs(export(width)) == counter.get_total_flops() // 2


def test_params_equal_torch(export):
    assert graph.params(export(8)) == sum(p.numel() for p in small_net(8).parameters())


def test_matrix_products(tmp_path):
    weight = np.ones((4, 3), np.float32)
    assert graph.macs(write(tmp_path / "m.onnx", [node("MatMul", "x", "w", "y")], {"w": weight})) == 12
    transposed = [node("Gemm", "x", "w", "y", transB=1)]
    assert graph.macs(write(tmp_path / "g.onnx", transposed, {"w": weight.T.copy()})) == 12


def test_memory_of_a_chain(tmp_path):
    # x (16 B) -> a (12 B) -> y (20 B); a and y live together with nothing else, weights 48 + 60 B.
    nodes = [node("MatMul", "x", "v", "a"), node("MatMul", "a", "w", "y")]
    constants = {"v": np.ones((4, 3), np.float32), "w": np.ones((3, 5), np.float32)}
    assert graph.peak_memory_mb(write(tmp_path / "c.onnx", nodes, constants)) == pytest.approx(
        (108 + 32) / 1e6
    )


def test_memory_of_a_skip_connection(tmp_path):
    # While b is made of a, x waits for the sum: 3 tensors of 16 B.
    nodes = [node("Sigmoid", "x", "a"), node("Sigmoid", "a", "b"), node("Add", "b", "x", "y")]
    assert graph.peak_memory_mb(write(tmp_path / "s.onnx", nodes, {})) == pytest.approx(48 / 1e6)


def test_memory_of_activations_in_place_and_views(tmp_path):
    nodes = [node("Sigmoid", "x", "a"), node("Relu", "a", "b"), node("Reshape", "b", "s", "y")]
    path = write(tmp_path / "v.onnx", nodes, {"s": np.array([-1, 2])})
    assert graph.peak_memory_mb(path) == pytest.approx(32 / 1e6)


def test_memory_of_a_quantised_chain(tmp_path):
    # x is given in float (16 B); all behind it is stored in a byte each: q and a's quantised form, 4 B.
    nodes = [
        node("QuantizeLinear", "x", "s", "z", "q"),
        node("DequantizeLinear", "q", "s", "z", "d"),
        node("Sigmoid", "d", "a"),
        node("QuantizeLinear", "a", "s", "z", "p"),
        node("DequantizeLinear", "p", "s", "z", "e"),
        node("Sigmoid", "e", "y"),
    ]
    constants = {"s": np.float32(0.1), "z": np.uint8(0)}
    assert graph.peak_memory_mb(write(tmp_path / "q.onnx", nodes, constants)) == pytest.approx((16 + 4) / 1e6)


def test_int8_takes_about_a_quarter(export, images, tmp_path):
    out = tmp_path / "int8.onnx"
    static_int8(export(16), [images], out)
    assert graph.peak_memory_mb(out) < 0.35 * graph.peak_memory_mb(export(16))


def test_an_unknown_shape_is_named(tmp_path):
    nodes = [helper.make_node("Mystery", ["x"], ["a"], domain="com.example"), node("MatMul", "a", "w", "y")]
    path = write(tmp_path / "u.onnx", nodes, {"w": np.ones((4, 3), np.float32)})
    with pytest.raises(ValueError, match=r"shape of tensor '[ay]' is not known"):
        graph.macs(path)
