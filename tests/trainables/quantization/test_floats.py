"""What a quantised network still computes in float is said with its reason."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from zoo import captured, layers, uniform

from raysearch.networks.capture import capture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization import fold_batch_norm, in_float, insert_quantizers


def quantized(name: str, weights: int = 8, activations: int = 8) -> fx.GraphModule:
    module = fold_batch_norm(captured(name))
    return insert_quantizers(module, uniform(module, weights, activations))


def test_convolutional_networks_have_nothing_in_float() -> None:
    for name in ("resnet", "inverted_residuals", "channel_shuffle", "conv1d_mean", "conv3d", "linear"):
        assert in_float(quantized(name)) == {}, name


def test_layers_are_named_with_the_bits_that_keep_them_in_float() -> None:
    assert in_float(quantized("one_number", 16, 8)) == dict.fromkeys(
        ("first", "last"), "its weights have 16 bits"
    )
    assert in_float(quantized("one_number", 8, 32)) == dict.fromkeys(
        ("first", "last"), "its input has 32 bits"
    )


def test_a_layer_that_the_plan_leaves_out_is_in_float() -> None:
    module = captured("one_number")
    assert layers(module) == ["first", "last"]
    found = in_float(insert_quantizers(module, BitWidthPlan({"first": 8}, {"first": 8})))
    assert found == {"last": "its weights have 32 bits"}


def test_recurrent_layers_and_other_operators_are_named() -> None:
    assert in_float(quantized("lstm")) == {"lstm": "no runtime here computes lstm in integers"}
    found = in_float(quantized("vision_transformer"))
    assert found["3 x layer_norm"] == "no runtime here computes it in integers"
    assert found["1 x gelu"] == "no runtime here computes it in integers"
    assert not set(layers(captured("vision_transformer"))) & set(found)


def test_a_cast_computes_nothing() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.head(x) * mask.to(torch.float32)

    inputs = torch.randn(3, 4), torch.ones(3, 1, dtype=torch.int64)
    module = fold_batch_norm(capture(Masked(), inputs))
    assert list(in_float(insert_quantizers(module, uniform(module, 8, 8)))) == ["1 x mul"]
