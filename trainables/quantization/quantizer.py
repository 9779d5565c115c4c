"""Fake quantisation with a learnt step.

Integers follow Esser et al., "Learned Step Size Quantization" (ICLR 2020): symmetric, the zero point is 0,
and the step is trained with the weights. Forward gives exactly what Quantize and Dequantize of ONNX give.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from raysearch.basics.failures import UserError

FLOAT16 = 16
FLOAT = 32
INTEGER_BITS = tuple(range(2, 9))
MIN_STEP = 1e-8

# A channel whose weights are this much smaller than the tensor's largest keeps the step of one that is not:
# its products are below the step of the output, while a vanishing step would overflow the int32 bias.
_SMALLEST_CHANNEL = 2.0**-12
# Values looked at when a step is chosen, and the quantile that is not cut off with eight bits.
_SAMPLE = 2**17
_QUANTILE = 0.9999
_HALF = (torch.float16, torch.bfloat16)
_CLIPS = tuple(0.3 + 0.05 * i for i in range(15))


class Quantizer(nn.Module):
    """Rounds a tensor to the values that so many bits can hold, and lets gradients through.

    Args:
        bits: 2 to 8 give integers times a learnt step, 16 gives float16, 32 changes nothing.
        signed: whether negative values occur; without them the integers start at 0.
        channels: for weights, how many slices have a step each; 1 is one step for all. Their range is
            symmetric (-127..127 with eight bits). None for activations, with one step.
        axis: along which the slices of weights lie.
        bound: an upper limit of the values, as after ReLU6: the steps are kept so small that no integer lies
            above it, so that a file needs no operator for the limit.
        within: bits that the integers fit in, however many they are held in.

    Raises:
        ValueError: other bits.
    """

    scale: nn.Parameter

    def __init__(
        self,
        bits: int,
        *,
        signed: bool = True,
        channels: int | None = None,
        axis: int = 0,
        bound: float | None = None,
        within: int = INTEGER_BITS[-1],
    ) -> None:
        super().__init__()
        if bits not in (*INTEGER_BITS, FLOAT16, FLOAT):
            raise UserError(f"bits is {bits!r}: a quantiser has 2 to 8, 16 (float16) or 32 (float) bits")
        self.bits, self.signed, self.channels, self.axis = bits, signed, channels, axis
        self.high = 2 ** (min(bits, within) - signed) - 1
        self.low = 0 if not signed else -self.high - (channels is None)
        self.largest_step = math.inf if bound is None else bound / self.high
        if self.integer:
            self.scale = nn.Parameter(torch.ones(() if channels is None else channels))

    @property
    def integer(self) -> bool:
        """Whether it rounds to integers times a step."""
        return self.bits <= INTEGER_BITS[-1]

    def step(self) -> Tensor:
        """The positive step, () or (channels,)."""
        return step_of(self.scale).clamp_max(self.largest_step)

    def forward(self, x: Tensor) -> Tensor:
        """The rounded tensor, of the same shape."""
        if torch.is_autocast_enabled(x.device.type) and x.dtype in _HALF:
            x = x.float()  # in half precision a multiple of a step is not one
        if self.integer:
            return cast(Tensor, _Round.apply(x, self._along(self.step(), x), self.low, self.high))
        if self.bits == FLOAT16:
            return x + (x.half().to(x.dtype) - x).detach() if x.requires_grad else x.half().to(x.dtype)
        return x

    def codes(self, x: Tensor) -> Tensor:
        """The integers that x is rounded to, as int32."""
        with torch.no_grad():
            return (x / self._along(self.step(), x)).round().clamp(self.low, self.high).to(torch.int32)

    @torch.no_grad()
    def fit(self, x: Tensor) -> Tensor:
        """Set the step to what suits the tensor's values, and return it.

        Eight bits keep (nearly) the whole range; fewer take the step of least squared error.
        """
        values = self._rows(x.detach()) if self.channels else _sample(x.detach()).view(1, -1)
        reach = values.abs().amax(1) if self.channels else _quantile(values)
        if self.bits < INTEGER_BITS[-1]:
            reach = self._least_error(values, reach)
        if self.channels:
            reach = reach.clamp_min(_SMALLEST_CHANNEL * float(reach.max()))
        step = (reach / self.high).clamp(MIN_STEP, self.largest_step)
        self.scale.copy_(step.view_as(self.scale))
        return self.scale.detach().clone()

    def _least_error(self, values: Tensor, reach: Tensor) -> Tensor:
        """Of the clipped shares of the reach, for each row the one with the least squared error."""
        reaches = torch.stack([reach * clip for clip in _CLIPS])
        errors = []
        for candidate in reaches:
            step = (candidate / self.high).clamp_min(MIN_STEP).view(-1, 1)
            errors.append(
                ((values / step).round().clamp(self.low, self.high) * step - values).square().mean(1)
            )
        best = torch.stack(errors).argmin(0, keepdim=True)
        return reaches.gather(0, best).squeeze(0)

    def _rows(self, x: Tensor) -> Tensor:
        """The slices that have a step each, (channels, values)."""
        return x.reshape(1, -1) if self.channels == 1 else x.movedim(self.axis, 0).flatten(1)

    def _along(self, step: Tensor, x: Tensor) -> Tensor:
        """The steps, shaped to divide x."""
        if step.numel() == 1:
            return step.reshape(())
        return step.view([-1 if axis == self.axis % x.dim() else 1 for axis in range(x.dim())])

    def extra_repr(self) -> str:
        """What print shows."""
        return f"bits={self.bits}, signed={self.signed}, channels={self.channels}"


class BiasQuantizer(nn.Module):
    """Rounds a bias to multiples of its layer's product of steps, as integer kernels add it.

    Args:
        largest_input_step: the limit of the input's quantiser on its step.
        repeats: how many groups of channels share the weights' steps, as in a transposed convolution.
    """

    def __init__(self, largest_input_step: float = math.inf, repeats: int = 1) -> None:
        super().__init__()
        self.largest_input_step, self.repeats = largest_input_step, repeats

    def step(self, input_scale: Tensor, weight_scale: Tensor) -> Tensor:
        """What the bias is rounded to multiples of, (channels,)."""
        steps = step_of(input_scale).clamp_max(self.largest_input_step) * step_of(weight_scale)
        return steps.repeat(self.repeats)

    def forward(self, bias: Tensor, input_scale: Tensor, weight_scale: Tensor) -> Tensor:
        """The rounded bias, (channels,); gradients pass to the bias unchanged."""
        return round_bias(bias, self.step(input_scale, weight_scale))


def step_of(scale: Tensor) -> Tensor:
    """The positive step of a scale, which training may have taken through zero."""
    return scale.abs().clamp_min(MIN_STEP)


def bias_codes(bias: Tensor, step: Tensor) -> Tensor:
    """The integers that a bias is rounded to, as int32."""
    limit = 2**31 - 128  # the largest int32 that float32 holds
    return (bias.detach() / step.detach()).round().clamp(-limit, limit).to(torch.int32)


def round_bias(bias: Tensor, step: Tensor) -> Tensor:
    """The bias rounded to int32 multiples of the step (channels,); gradients pass to the bias unchanged."""
    rounded = bias_codes(bias, step).to(bias.dtype) * step.detach()
    return bias + (rounded - bias).detach() if torch.is_grad_enabled() else rounded


class _Round(torch.autograd.Function):
    """Rounding to multiples of a step, with the gradients of LSQ."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.range = low, high
        return (x / step).round_().clamp_(low, high).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        x, step = ctx.saved_tensors
        low, high = ctx.range
        scaled = x / step
        inside = (scaled >= low) & (scaled <= high)
        slope = scaled.round().clamp_(low, high).sub_(scaled * inside).mul_(gradient)
        slope = slope.sum_to_size(step.shape)
        # The paper's factor: a step's gradient is as large, relative to it, as a weight's.
        factor = 1.0 / math.sqrt(max(1, x.numel() // step.numel()) * high)
        return gradient * inside, slope * factor, None, None


def _sample(x: Tensor) -> Tensor:
    """At most so many values, evenly spread."""
    flat = x.flatten()
    return flat[:: max(1, flat.numel() // _SAMPLE)]


def _quantile(values: Tensor) -> Tensor:
    """The magnitude that all but a few of the values keep below, (1,)."""
    magnitudes = values.abs().float()
    return torch.quantile(magnitudes, _QUANTILE, dim=1).to(values.dtype)
