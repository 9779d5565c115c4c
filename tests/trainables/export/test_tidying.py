"""A file after its exporter: constants computed, unread nodes gone, tensors under their noted names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from raysearch.trainables.export.forms import FLOAT16_WEIGHT
from raysearch.trainables.export.symbols import NAME
from raysearch.trainables.export.tidying import tidied


def model(nodes: Sequence[NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    """A model from "x" to "y"."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 4)) for name in "xy"]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def operators(found: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in found.graph.node]


def test_limits_of_a_clip_become_constants_of_its_type() -> None:
    low, high = (helper.make_node("Constant", [], [n], value_int=v) for n, v in (("l", 0), ("h", 6)))
    casts = [helper.make_node("CastLike", [n, "x"], [f"{n}2"]) for n in ("l", "h")]
    found = tidied(model([low, high, *casts, helper.make_node("Clip", ["x", "l2", "h2"], ["y"])]))
    assert operators(found) == ["Constant", "Constant", "Clip"]
    values = [numpy_helper.to_array(node.attribute[0].t) for node in found.graph.node[:2]]
    assert [(float(v), v.dtype) for v in values] == [(0.0, np.float32), (6.0, np.float32)]


def test_what_nobody_reads_goes() -> None:
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["unread"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    found = tidied(model(nodes, w=np.ones(4, np.float32)))
    assert operators(found) == ["Relu"]
    assert not found.graph.initializer


def test_tensors_get_the_names_that_were_noted() -> None:
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])]
    for node, name in zip(nodes, ("rounded", "last"), strict=True):
        node.metadata_props.add(key=NAME, value=name)
    found = tidied(model(nodes))
    assert [list(node.output) for node in found.graph.node] == [["rounded"], ["y"]]
    assert list(found.graph.node[1].input) == ["rounded"]
    assert not any(node.metadata_props for node in found.graph.node)


def test_weights_of_sixteen_bits_are_held_as_such() -> None:
    name = f"a_{FLOAT16_WEIGHT}"
    found = tidied(model([helper.make_node("Add", ["x", name], ["y"])], **{name: np.ones(4, np.float32)}))
    assert [t.data_type for t in found.graph.initializer] == [TensorProto.FLOAT16]
    assert operators(found) == ["Cast", "Add"]
