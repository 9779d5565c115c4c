"""Activations that are products are written as such."""

from __future__ import annotations

import pytest
import torch
from raysearch.trainables.quantization.activations import split_gates
from torch import nn

from raysearch.networks.capture import capture

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("layer", "gate"), [(nn.SiLU(), aten.sigmoid.default), (nn.Hardswish(), aten.hardsigmoid.default)]
)
@pytest.mark.parametrize("inplace", [True, False])
def test_a_gate_and_its_product_compute_the_same(layer: nn.Module, gate: object, inplace: bool) -> None:
    layer.inplace = inplace
    model, x = nn.Sequential(nn.Linear(4, 4), layer), 3 * torch.randn(5, 4)
    module = capture(model, x)
    split_gates(module.graph)
    module.recompile()
    targets = [n.target for n in module.graph.nodes if n.op == "call_function"]
    assert targets == [aten.linear.default, gate, aten.mul.Tensor]
    assert all(n.meta["val"].shape[1] == 4 for n in module.graph.nodes if n.op == "call_function")
    torch.testing.assert_close(module(x), model(x))


def test_other_activations_stay() -> None:
    module = capture(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Sigmoid()), torch.randn(2, 4))
    before = [n.target for n in module.graph.nodes]
    split_gates(module.graph)
    assert [n.target for n in module.graph.nodes] == before
