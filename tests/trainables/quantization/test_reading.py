from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raysearch.networks.capture import capture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization.reading import Reading


class _SumsOfSums(nn.Module):
    """Every sum reads the one before it twice, so that there are 2^depth ways through them."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        for _ in range(self.depth):
            x = x + F.avg_pool2d(x, 1)
        return x


def test_a_graph_with_very_many_paths_is_read_once() -> None:
    captured = capture(_SumsOfSums(60), torch.randn(2, 3, 4, 4))
    reading = Reading(captured.graph, BitWidthPlan({"conv": 8}, {"conv": 4}))
    (last,) = captured.graph.output_node().args[0]  # type: ignore[misc, union-attr]
    assert reading.nonnegative(last)  # type: ignore[arg-type]
    assert reading.bits(last) == 4  # type: ignore[arg-type]
    assert len(reading.integers) == 120


def test_what_follows_a_sum_of_any_sign_may_be_negative() -> None:
    class Signed(_SumsOfSums):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.conv(x)

    captured = capture(Signed(3), torch.randn(2, 3, 4, 4))
    reading = Reading(captured.graph, BitWidthPlan({}, {}))
    (last,) = captured.graph.output_node().args[0]  # type: ignore[misc, union-attr]
    assert not reading.nonnegative(last)  # type: ignore[arg-type]
