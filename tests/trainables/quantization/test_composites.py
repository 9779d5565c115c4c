"""Operators written as several compute what they did."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysearch.networks.capture import capture
from raysearch.trainables.quantization.composites import split_composites

aten = torch.ops.aten
MASK = torch.tensor([[True, True, False], [True, False, True], [False, True, True]])


class Computes(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def attention(x: Tensor, **how: object) -> Tensor:
    return F.scaled_dot_product_attention(x, x.flip(1), x.cos(), **how)  # type: ignore[arg-type]


def split(function: Callable[[Tensor], Tensor]) -> tuple[set[object], Tensor, Tensor]:
    """The operators after, and what the graph gives before and after, for another batch than the example."""
    x = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0))
    module = capture(Computes(function), x[:2])
    after = copy.deepcopy(module)
    split_composites(after.graph)
    after.graph.lint()
    after.recompile()
    return {node.target for node in after.graph.nodes}, function(x), after(x)


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (F.silu, {aten.sigmoid.default, aten.mul.Tensor}),
        (F.hardswish, {aten.hardsigmoid.default, aten.mul.Tensor}),
        (attention, {aten.matmul.default, aten.softmax.int}),
        (lambda x: attention(x, scale=0.7), {aten.matmul.default, aten.softmax.int}),
        (lambda x: attention(x, attn_mask=MASK), {aten.masked_fill.Scalar, aten.softmax.int}),
        (lambda x: attention(x, attn_mask=MASK.float()), {aten.add.Tensor, aten.softmax.int}),
    ],
    ids=["silu", "hardswish", "attention", "scaled", "masked by truths", "masked by sums"],
)
def test_the_parts_give_what_the_whole_gave(function: Callable[[Tensor], Tensor], parts: set[object]) -> None:
    found, before, after = split(function)
    assert parts <= found
    assert not found & {aten.silu.default, aten.hardswish.default, aten.scaled_dot_product_attention.default}
    torch.testing.assert_close(after, before)


def test_causal_attention_stays_whole() -> None:
    found, before, after = split(lambda x: attention(x, is_causal=True))
    assert aten.scaled_dot_product_attention.default in found
    torch.testing.assert_close(after, before)


def test_the_parts_belong_to_the_layer_of_the_whole() -> None:
    module = capture(nn.Sequential(nn.Linear(4, 4), nn.SiLU()), torch.zeros(2, 4))
    whole = next(node for node in module.graph.nodes if node.target is aten.silu.default)
    place, shape = whole.meta["nn_module_stack"], whole.meta["val"].shape
    split_composites(module.graph)
    for node in list(module.graph.nodes)[-3:-1]:
        assert node.meta["nn_module_stack"] == place
        assert node.meta["val"].shape == shape
