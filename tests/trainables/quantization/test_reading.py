from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import Net

from benchmarks.eight_bits import fused
from raysearch.networks import operators
from raysearch.networks.capture import capture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.export import export_onnx
from raysearch.trainables.quantization import calibrate, insert_quantizers
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


@pytest.mark.parametrize(
    ("run", "known"),
    [
        (lambda x: F.relu(x).chunk(2, 1)[0], True),
        (lambda x: x.chunk(2, 1)[0], False),
        (lambda x: x.chunk(2, 1)[0] * torch.sigmoid(x.chunk(2, 1)[1]), False),
        (lambda x: F.relu(x) + 1, True),
        (lambda x: F.relu(x) - 1 + F.relu(x), False),
        (lambda x: F.relu(x) * -1.0, False),
        (lambda x: torch.add(F.relu(x), F.relu(x), alpha=-1), False),
    ],
)
def test_parts_numbers_and_factors_may_make_values_negative(
    run: Callable[[Tensor], Tensor], known: bool
) -> None:
    captured = capture(Net(lambda _, x: run(x)), torch.randn(2, 4, 3))
    (last,) = captured.graph.output_node().args[0]  # type: ignore[misc, union-attr]
    assert Reading(captured.graph, BitWidthPlan({}, {})).nonnegative(last) is known  # type: ignore[arg-type]


class _Merging(nn.Module):
    """A layer without bias whose output a norm reads, and a sum of layers: a stage's start in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(8, 8, bias=False), nn.LayerNorm(8)
        self.branch, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduction(x)
        x = x + self.branch(self.norm(x))
        return self.head(x)


def test_a_product_that_is_read_rounded_and_in_float_is_rounded_for_all(tmp_path: Path) -> None:
    x = torch.randn(4, 5, 8)
    captured = capture(_Merging(), x)
    bits = dict.fromkeys(("reduction", "branch", "head"), 8)
    reading = Reading(captured.graph, BitWidthPlan(bits, bits))
    by_name = {str(n.args[1]): n for n in captured.graph.nodes if operators.name_of(n) == "linear"}
    assert by_name["reduction_weight"] in reading.rounded_at_the_end()
    assert by_name["head_weight"] not in reading.rounded_at_the_end()
    quantized = insert_quantizers(captured, reading.plan)
    calibrate(quantized, [x])
    export_onnx(quantized, tmp_path / "model.onnx")
    _, ran = fused(tmp_path / "model.onnx")
    assert ran["MatMul"] == 0
