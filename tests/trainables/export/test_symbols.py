"""Nodes that stand for ONNX operators."""

from __future__ import annotations

import operator
from pathlib import Path

import onnx
import torch
from torch import fx
from zoo import Net

from raysearch.networks.capture import capture, signature
from raysearch.networks.lifting import lifted
from raysearch.networks.unlifting import finished
from raysearch.trainables.export.files import export_onnx
from raysearch.trainables.export.symbols import NAME, give_name, symbolic, symbolic_several


def rewritten() -> fx.GraphModule:
    """x - x.abs(), where the absolute value is an ONNX operator with attributes."""
    module = capture(Net(lambda _, x: x - x.abs()), torch.randn(2, 6))
    (absolute,) = (n for n in module.graph.nodes if "abs" in n.name)
    with module.graph.inserting_before(absolute):
        inputs, value = [absolute.args[0]], absolute.meta["val"]
        new = symbolic(module.graph, "Elu", inputs, value, {"alpha": 0.5}, version=6)
    give_name(new, "elu")
    absolute.replace_all_uses_with(new)
    return finished(module)


def test_an_operator_is_written_with_its_attributes_and_name(tmp_path: Path) -> None:
    module = rewritten()
    export_onnx(module, tmp_path / "model.onnx")
    node = next(n for n in onnx.load(tmp_path / "model.onnx").graph.node if n.op_type == "Elu")
    assert [(a.name, a.f) for a in node.attribute] == [("alpha", 0.5)]
    assert list(node.output) == ["elu"]


def test_sizes_that_vary_are_taken_from_the_inputs() -> None:
    module = rewritten()
    (node,) = (n for n in module.graph.nodes if "symbolic" in str(n.target))
    batch, width = node.kwargs["shape"]
    assert isinstance(batch, fx.Node)
    assert batch.target is torch.ops.aten.sym_size.int
    assert width == 6
    assert node.kwargs["metadata_props_keys"] == [NAME]
    assert lifted(module).range_constraints == signature(module).ranges


def test_several_outputs_are_read_by_their_places(tmp_path: Path) -> None:
    module = capture(Net(lambda _, x: x[:, :2] * x[:, 2:]), torch.randn(2, 4))
    product = module.graph.output_node().args[0][0]  # type: ignore[index]
    (x,) = module.graph.find_nodes(op="placeholder")
    parts = [n.meta["val"] for n in product.args]
    with module.graph.inserting_before(product):
        both = symbolic_several(module.graph, "Split", [x], parts, {"axis": 1, "num_outputs": 2}, version=18)
        first, second = (module.graph.call_function(operator.getitem, (both, i)) for i in (0, 1))
    first.meta["val"], second.meta["val"] = parts
    product.args = (first, second)
    export_onnx(finished(module), tmp_path / "model.onnx")
    assert [n.op_type for n in onnx.load(tmp_path / "model.onnx").graph.node] == ["Split", "Mul"]
