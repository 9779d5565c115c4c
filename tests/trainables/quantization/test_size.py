from __future__ import annotations

import pytest
import torch
from torch import nn

from raysearch.networks.capture import capture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization import held_bits, insert_quantizers, nonzero_rate, size_mb


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32])
def test_bits_are_counted(bits: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    folded = capture(model, torch.zeros(2, 3, 8, 8))
    module = insert_quantizers(folded, BitWidthPlan({"0": bits, "2": 32}, {"0": 8, "2": 32}))
    weights = 8 * 27 * bits + 4 * 8 * 32
    assert size_mb(module) == pytest.approx((weights + (8 + 4) * 32) / 8e6)
    assert size_mb(folded) == pytest.approx((8 * 27 + 4 * 8 + 12) * 32 / 8e6)


def test_weights_that_are_zero_are_stored_without_where_that_is_smaller() -> None:
    model = nn.Sequential(nn.Linear(8, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 0, 2, 0, 0, 3, 0, 4]).expand(4, 8))
    assert size_mb(model, "unstructured") == pytest.approx((16 * 32 + 32) / 8e6)
    assert size_mb(model, "2:4") == pytest.approx(16 * (32 + 2) / 8e6)
    assert size_mb(model) == pytest.approx(32 * 32 / 8e6)
    quantized = insert_quantizers(capture(model, torch.zeros(2, 8)), BitWidthPlan({"0": 2}, {"0": 32}))
    assert size_mb(quantized, "2:4") == pytest.approx(32 * 2 / 8e6), "places take as many bits as values"
    with torch.no_grad():
        model[0].weight[0, :3] = 1.0
    assert size_mb(model, "2:4") == pytest.approx(32 * 32 / 8e6), "three of four: not the pattern"


def test_weights_that_round_to_zero_are_zeros() -> None:
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 0.001, 0.0, -1.0]])
    folded = capture(model, torch.zeros(2, 4))
    assert nonzero_rate(folded) == 0.75
    assert nonzero_rate(insert_quantizers(folded, BitWidthPlan({"0": 4}, {"0": 32}))) == 0.5
    assert nonzero_rate(nn.ReLU()) == 1.0


def test_a_weight_that_two_layers_read_counts_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    module = insert_quantizers(capture(model, torch.zeros(2, 4)), BitWidthPlan({"0": 4}, {"0": 8}))
    assert size_mb(module) == pytest.approx(16 * 4 / 8e6)


def test_files_hold_few_bits_in_eight() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    plan = BitWidthPlan({"0": 4, "2": 16}, {"0": 8, "2": 16})
    module = insert_quantizers(capture(model, torch.zeros(2, 4)), plan)
    assert held_bits(module) == {
        "0.weight": 8,
        "2.weight": 16,
        "quantize_input_1_8": 8,
        "quantize_relu_16": 16,
    }
