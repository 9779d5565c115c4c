"""What operators are to those who change a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from zoo import NETWORKS, Net, captured, layers

from raysearch.networks import operators
from raysearch.networks.capture import capture


def last(run: Callable[[Any, Tensor], Tensor], *shape: int) -> fx.Node:
    """The node that gives the output."""
    (node,) = capture(Net(run), torch.rand(2, *shape)).graph.output_node().args[0]  # type: ignore[misc, union-attr]
    assert isinstance(node, fx.Node)
    return node


def test_layers_are_named_as_in_the_network() -> None:
    assert layers(captured("vision_transformer")) == [
        "patches",
        "attention.in_proj_weight",
        "attention.out_proj",
        "mlp.0",
        "mlp.3",
        "head",
    ]
    assert layers(captured("tied_text")) == ["table", "hidden"]
    assert layers(captured("linear")) == ["weight"]


def test_bare_parameters_are_layers_of_their_own_names() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.matrix = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4, 2))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.kernel).mean((2, 3)) @ self.matrix

    assert layers(capture(Own(), torch.randn(2, 3, 5, 5))) == ["kernel", "matrix"]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_layers_weights_are_found(name: str) -> None:
    module = captured(name)
    for node in module.graph.nodes:
        if layer := operators.layer_of(node):
            weight = module.get_parameter(operators.weight_name(node, layer))
            assert weight.dim() >= 2
            if layer.axis is not None and not operators.is_convolution(node):
                value = operators.value_of(node)
                assert value is not None
                assert value.shape[-1] == weight.shape[layer.axis]


@pytest.mark.parametrize(
    ("run", "bound"),
    [
        (lambda _, x: F.relu6(x), 6.0),
        (lambda _, x: F.hardtanh(x, 0.0, 3.0), 3.0),
        (lambda _, x: x.clamp(0, 1), 1.0),
        (lambda _, x: x.clamp(-1, 1), None),
        (lambda _, x: x.clamp(min=0), None),
        (lambda _, x: torch.relu(x), None),
    ],
)
def test_the_limits_of_activations(run: Callable[[Any, Tensor], Tensor], bound: float | None) -> None:
    assert operators.upper_bound(last(run, 4)) == bound


@pytest.mark.parametrize(
    ("run", "nonnegative"),
    [
        (lambda _, x: torch.relu(x), True),
        (lambda _, x: x.clamp(min=0), True),
        (lambda _, x: x.clamp(min=-1), False),
        (lambda _, x: x.clamp(max=3), False),
        (lambda _, x: x.softmax(-1), True),
        (lambda _, x: torch.tanh(x), False),
        (lambda _, x: F.gelu(x), False),
    ],
)
def test_which_values_cannot_be_negative(run: Callable[[Any, Tensor], Tensor], nonnegative: bool) -> None:
    assert operators.is_nonnegative(last(run, 4)) is nonnegative


@pytest.mark.parametrize(
    ("run", "shape", "whole"),
    [
        (lambda _, x: x.mean((2, 3)), (3, 4, 4), True),
        (lambda _, x: x.mean((-1, -2), keepdim=True), (3, 4, 4), True),
        (lambda _, x: F.adaptive_avg_pool2d(x, 1), (3, 4, 4), True),
        (lambda _, x: F.adaptive_avg_pool2d(x, 2), (3, 4, 4), False),
        (lambda _, x: x.mean(-1), (3, 4), True),
        (lambda _, x: x.mean((-2, -1)), (3, 4), False),
        (lambda _, x: x.mean((-2, -1)), (3, 4, 4, 4), False),
        (lambda _, x: x.mean(1), (3, 4), False),
        (lambda _, x: x.mean(-1), (3,), False),
    ],
)
def test_averages_over_all_positions(
    run: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...], whole: bool
) -> None:
    assert operators.is_global_average(last(run, *shape)) is whole
