from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.trainables.quantization.quantizer import (
    BiasQuantizer,
    Quantizer,
    bias_codes,
    round_bias,
)


@settings(max_examples=40, deadline=None)
@given(bits=st.integers(2, 8), signed=st.booleans(), seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_rounding_is_idempotent_in_range_and_at_most_half_a_step_off(
    bits: int, signed: bool, seed: int, scale: float
) -> None:
    x = torch.randn(200, generator=torch.Generator().manual_seed(seed)) * scale
    quantizer = Quantizer(bits, signed=signed)
    quantizer.fit(x if signed else x.abs())
    rounded = quantizer(x).detach()
    step = float(quantizer.step())
    assert torch.equal(quantizer(rounded), rounded)
    assert len(rounded.unique()) <= 2**bits
    inside = (x >= quantizer.low * step) & (x <= quantizer.high * step)
    assert float(((rounded - x).abs() * inside).max()) <= step * 0.5001
    assert torch.equal(quantizer.codes(x) * quantizer.step(), rounded)


@pytest.mark.parametrize(("bits", "low", "high"), [(8, -127, 127), (4, -7, 7), (2, -1, 1)])
def test_weights_have_a_symmetric_range(bits: int, low: int, high: int) -> None:
    quantizer = Quantizer(bits, channels=3)
    assert (quantizer.low, quantizer.high) == (low, high)


def test_activations_use_the_whole_range() -> None:
    assert (Quantizer(8).low, Quantizer(8).high) == (-128, 127)
    assert (Quantizer(4, signed=False).low, Quantizer(4, signed=False).high) == (0, 15)


@pytest.mark.parametrize(("bits", "high"), [(8, 127), (7, 127), (4, 15)])
def test_activations_without_a_sign_fit_in_signed_bytes_where_asked(bits: int, high: int) -> None:
    quantizer = Quantizer(bits, signed=False, within=7)
    assert (quantizer.low, quantizer.high) == (0, high)


@pytest.mark.parametrize("bits", [0, 1, 9, 12, 64])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"bits is {bits}.*2 to 8, 16"):
        Quantizer(bits)


def test_float16_rounds_and_float_does_nothing() -> None:
    x = torch.randn(50, requires_grad=True)
    assert torch.equal(Quantizer(16)(x), x.half().float())
    Quantizer(16)(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones(50))
    assert Quantizer(32)(x) is x
    assert not list(Quantizer(32).parameters())


def test_gradients_are_those_of_the_paper() -> None:
    quantizer = Quantizer(2)  # -2..1
    quantizer.scale.data.fill_(0.5)
    x = torch.tensor([-5.0, -0.6, 0.1, 9.0], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad is not None
    assert quantizer.scale.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]  # clipped values pass no gradient
    slopes = -2 + (-1 + 1.2) + (0 - 0.2) + 1  # the bound outside; code minus scaled value inside
    assert float(quantizer.scale.grad) == pytest.approx(slopes / (4 * 1) ** 0.5, abs=1e-6)


def test_each_channel_has_its_own_step() -> None:
    weight = torch.stack([torch.full((4,), 0.1), torch.full((4,), 10.0)])
    quantizer = Quantizer(8, channels=2)
    quantizer.fit(weight)
    assert quantizer.step().tolist() == pytest.approx([0.1 / 127, 10 / 127])


def test_a_dead_channel_does_not_overflow_the_bias() -> None:
    quantizer, bias = Quantizer(8, channels=2), torch.tensor([0.5, 3.0])
    quantizer.fit(torch.tensor([1.0, 0.0]).view(2, 1, 1, 1))
    rounded = BiasQuantizer()(bias, torch.tensor(1e-3), quantizer.scale)
    assert rounded.tolist() == pytest.approx([0.5, 3.0], rel=1e-5)


def test_bias_is_rounded_to_its_step_and_passes_gradients() -> None:
    bias = torch.tensor([0.26, -0.13], requires_grad=True)
    step = torch.tensor([0.1, 0.05])
    assert bias_codes(bias, step).tolist() == [3, -3]
    rounded = round_bias(bias, step)
    assert rounded.tolist() == pytest.approx([0.3, -0.15])
    rounded.sum().backward()
    assert bias.grad is not None
    assert bias.grad.tolist() == [1, 1]


def test_fewer_bits_clip_to_lose_less() -> None:
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    quantizer = Quantizer(3)
    quantizer.fit(x)
    chosen = (quantizer(x) - x).square().mean()
    quantizer.scale.data.fill_(float(x.abs().max()) / quantizer.high)
    assert chosen < (quantizer(x) - x).square().mean()


def test_a_bias_takes_the_steps_that_its_layer_uses() -> None:
    """Training may take a scale through zero, and an input's step is held below its limit."""
    input_scale, weight_scale = torch.tensor(-0.5), torch.tensor([0.1, -0.2])
    assert BiasQuantizer().step(input_scale, weight_scale).tolist() == pytest.approx([0.05, 0.1])
    assert BiasQuantizer(0.25).step(input_scale, weight_scale).tolist() == pytest.approx([0.025, 0.05])


def test_steps_stay_so_small_that_no_value_lies_above_a_bound() -> None:
    quantizer = Quantizer(8, signed=False, bound=6.0)
    quantizer.fit(torch.linspace(0, 6, 100))
    quantizer.scale.data.mul_(1.5)
    assert float(quantizer.step()) == pytest.approx(6 / 255)
    assert float(quantizer(torch.tensor([7.0]))) == pytest.approx(6.0)
    assert float(Quantizer(8, signed=False)(torch.tensor([7.0]))) == 7.0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_lie_along_the_axis_that_is_named(axis: int) -> None:
    weight = torch.ones(3, 3, 3) * torch.tensor([1.0, 2.0, 4.0]).view(
        [-1 if a == axis else 1 for a in range(3)]
    )
    quantizer = Quantizer(8, channels=3, axis=axis)
    quantizer.fit(weight)
    assert quantizer.step().tolist() == pytest.approx([1 / 127, 2 / 127, 4 / 127])
    torch.testing.assert_close(quantizer(weight), weight)


def test_a_table_has_one_step() -> None:
    quantizer = Quantizer(8, channels=1)
    quantizer.fit(torch.tensor([[0.1, -0.2], [12.7, 3.0]]))
    assert quantizer.scale.shape == (1,)
    assert quantizer.step().tolist() == pytest.approx([0.1])


def test_a_quantiser_is_copied_with_its_step() -> None:
    quantizer, x = Quantizer(4), torch.randn(5, 3)
    quantizer.fit(x)
    assert torch.equal(copy.deepcopy(quantizer)(x), quantizer(x))
