"""Multiply-accumulates against torch's own counter and by hand; parameters; memory of small chains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from zoo import NETWORKS, Net, captured, network, uniform

from raysearch.networks import nests
from raysearch.networks.capture import capture
from raysearch.networks.figures import macs, params, peak_memory_mb, weights
from raysearch.trainables.quantization import fold_batch_norm, held_bits, insert_quantizers

# Torch's counter leaves recurrent layers, einsum and looked-up tables to others, or takes them apart.
COUNTED = sorted(set(NETWORKS) - {"lstm", "gru", "two_inputs", "norms_of_weights"})


@pytest.mark.parametrize("name", COUNTED)
def test_macs_equal_torchs(name: str) -> None:
    with FlopCounterMode(display=False) as counter:
        nests.call(network(name), NETWORKS[name].inputs(1))
    assert macs(captured(name)) == counter.get_total_flops() // 2


def by_hand(model: nn.Module, *shape: int) -> int:
    return macs(capture(model.eval(), torch.randn(2, *shape)))


def test_macs_of_recurrent_layers() -> None:
    cell = nn.GRUCell(4, 8)
    assert by_hand(Net(lambda m, x: m.a(x[:, 1], m.a(x[:, 0])), a=cell), 7, 4) == 2 * 3 * 8 * (4 + 8)
    # Each of 7 steps multiplies by all matrices: four gates of an LSTM, three of a GRU, in both directions.
    lstm = nn.LSTM(4, 8, batch_first=True)
    assert by_hand(Net(lambda m, x: m.a(x)[0], a=lstm), 7, 4) == 7 * 4 * 8 * (4 + 8)
    gru = nn.GRU(4, 6, num_layers=2, batch_first=True, bidirectional=True)
    first, second = 2 * 3 * 6 * (4 + 6), 2 * 3 * 6 * (12 + 6)
    assert by_hand(Net(lambda m, x: m.a(x)[0], a=gru), 7, 4) == 7 * (first + second)


def test_macs_of_attention() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    model = Net(lambda m, x: m.a(x, x, x, need_weights=False)[0], a=attention)
    projections, scores, sums = 5 * 8 * 32, 2 * 5 * 5 * 4, 2 * 5 * 5 * 4
    assert by_hand(model, 5, 8) == projections + scores + sums


def test_macs_of_convolutions() -> None:
    assert by_hand(nn.Conv2d(4, 8, 3, groups=4, bias=False), 4, 8, 8) == 6 * 6 * 8 * 9
    assert by_hand(nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2), 4, 5, 5) == 5 * 5 * 4 * 9 * 4
    assert by_hand(nn.Conv1d(3, 8, 5, stride=2, padding=2), 3, 9) == 5 * 8 * 3 * 5
    assert by_hand(nn.Conv3d(1, 4, 2, dilation=2), 1, 4, 4, 4) == 8 * 4 * 8


@pytest.mark.parametrize(
    ("equation", "count"), [("nij,njk->nik", 4 * 5 * 6), ("nij, nkj -> nik", 4 * 5 * 4), ("nij->ni", 0)]
)
def test_macs_of_einsum(equation: str, count: int) -> None:
    x = torch.randn(2, 4, 5)
    other = {120: x.new_ones(2, 5, 6), 80: x}.get(count)

    def run(_: Any, x: Tensor) -> Tensor:
        second = () if other is None else (x if count == 80 else x.new_ones(len(x), 5, 6) * x.mean(),)
        return torch.einsum(equation, x, *second)

    assert macs(capture(Net(run), x)) == count


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_params_are_the_networks_and_the_same_quantised(name: str) -> None:
    module = captured(name)
    if name != "norms_of_weights":  # whose weights are computed from others
        assert params(module) == sum(p.numel() for p in network(name).parameters())
    quantized = insert_quantizers(module, uniform(module, 8, 8))
    assert params(quantized) == params(module)
    assert macs(quantized) == macs(module)
    assert set(weights(quantized)) == set(weights(module))


def test_figures_are_of_one_input() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    first, other = (capture(model, torch.randn(n, 3, 8, 8)) for n in (2, 7))
    for figure in (macs, params, peak_memory_mb):
        assert figure(first) == figure(other)


def memory(run: Callable[[Any, Tensor], Any], *shape: int, **parts: nn.Module) -> float:
    """Bytes at the peak for one input."""
    return 1e6 * peak_memory_mb(fold_batch_norm(capture(Net(run, **parts).eval(), torch.randn(2, *shape))))


def test_memory_of_a_chain() -> None:
    # x (16 B) -> a (12 B) -> y (20 B): at most two are alive at once, beside weights of 48 + 60 B.
    layers = {"a": nn.Linear(4, 3, bias=False), "b": nn.Linear(3, 5, bias=False)}
    assert memory(lambda m, x: m.b(m.a(x)), 4, **layers) == pytest.approx(108 + 32)


def test_memory_of_a_skip_connection() -> None:
    # While b is made of a, x waits for the sum: three tensors of 16 B.
    assert memory(lambda _, x: torch.sigmoid(torch.sigmoid(x)) + x, 4) == pytest.approx(48)


def test_views_and_rectifiers_cost_nothing() -> None:
    assert memory(lambda _, x: torch.relu(torch.sigmoid(x)).reshape(-1, 2, 2), 4) == pytest.approx(32)
    assert memory(lambda _, x: torch.sigmoid(x).clamp(0, 0.5)[:, :2], 4) == pytest.approx(32)


def test_a_pooling_and_what_it_is_made_of_are_alive_together() -> None:
    # x and the sigmoid of 64 B each; then that and its maxima, 16 B, or its copies, 256 B.
    assert memory(lambda _, x: F.max_pool2d(torch.sigmoid(x), 2), 1, 4, 4) == pytest.approx(128)
    assert memory(lambda _, x: F.interpolate(torch.sigmoid(x), scale_factor=2.0), 1, 4, 4) == pytest.approx(
        320
    )


def test_a_rectifier_of_the_input_needs_a_tensor_of_its_own() -> None:
    assert memory(lambda _, x: torch.relu(x), 4) == pytest.approx(32)


def test_integers_count_in_their_own_types() -> None:
    model = Net(lambda m, x: x.float() / 255)
    module = capture(model, torch.zeros(2, 100, dtype=torch.uint8))
    assert 1e6 * peak_memory_mb(module) == pytest.approx(400 + 400)


def test_memory_of_a_quantised_chain() -> None:
    # x is given in float (16 B) and rounded to 4 B. Weights take 12 + 15 B.
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Sigmoid(), nn.Linear(3, 5, bias=False))
    module = capture(model, torch.randn(2, 4))
    quantized = insert_quantizers(module, uniform(module, 8, 8))
    taken = 1e6 * peak_memory_mb(quantized, held_bits(quantized))
    assert taken < 1e6 * peak_memory_mb(module)
    assert 27 + 16 + 4 <= taken <= 27 + 16 + 4 + 12


def test_eight_bits_take_about_a_quarter() -> None:
    """All but the input, the outputs and the biases, which stay wider."""
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 1)
    )
    module = capture(model, torch.randn(2, 3, 16, 16))
    quantized = insert_quantizers(module, uniform(module, 8, 8))
    share = peak_memory_mb(quantized, held_bits(quantized)) / peak_memory_mb(module)
    assert 0.24 < share < 0.32
