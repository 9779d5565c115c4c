from __future__ import annotations

import pytest
import torch
from torch import nn

from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization import fold_batch_norm, insert_quantizers, nonzero_rate, size_mb


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32])
def test_bits_are_counted(bits: int) -> None:
    folded = fold_batch_norm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)))
    module = insert_quantizers(folded, BitWidthPlan({"0": bits, "2": 32}, {"0": 8, "2": 32}))
    weights = 8 * 27 * bits + 4 * 8 * 32
    assert size_mb(module) == pytest.approx((weights + (8 + 4) * 32) / 8e6)
    assert size_mb(folded) == pytest.approx((8 * 27 + 4 * 8 + 12) * 32 / 8e6)


def test_weights_that_round_to_zero_are_zeros() -> None:
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 0.001, 0.0, -1.0]])
    folded = fold_batch_norm(model)
    assert nonzero_rate(folded) == 0.75
    assert nonzero_rate(insert_quantizers(folded, BitWidthPlan({"0": 4}, {"0": 32}))) == 0.5
    assert nonzero_rate(nn.ReLU()) == 1.0
