from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization import calibrate, insert_quantizers

Uniform = Callable[[int, int], BitWidthPlan]


def test_eight_bits_follow_the_float_network(
    network: nn.Module, folded: fx.GraphModule, uniform: Uniform, inputs: Tensor
) -> None:
    module = insert_quantizers(folded, uniform(8, 8))
    calibrate(module, [inputs[:16], inputs[16:]])
    wanted, given = network(inputs).detach(), module(inputs).detach()
    assert float((wanted - given).abs().max()) < 0.05 * float(wanted.max() - wanted.min())


def test_steps_are_the_mean_over_batches(folded: fx.GraphModule, uniform: Uniform, inputs: Tensor) -> None:
    module = insert_quantizers(folded, uniform(8, 8))
    steps = []
    for batches in ([inputs], [3 * inputs], [inputs, 3 * inputs]):
        calibrate(module, batches)
        steps.append(module.get_parameter("quantize_x_8.scale").item())
    assert steps[2] == pytest.approx((steps[0] + steps[1]) / 2)


def test_weights_keep_their_steps(folded: fx.GraphModule, uniform: Uniform, inputs: Tensor) -> None:
    module = insert_quantizers(folded, uniform(4, 8))
    before = module.get_parameter("head.weight_quantizer.scale").clone()
    calibrate(module, [inputs])
    assert torch.equal(module.get_parameter("head.weight_quantizer.scale"), before)


def test_no_batch_is_refused(folded: fx.GraphModule, uniform: Uniform) -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        calibrate(insert_quantizers(folded, uniform(8, 8)), [])
