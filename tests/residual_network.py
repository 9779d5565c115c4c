"""A small trained-looking network, and plans over its parts, that several rooms' tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import fx, nn

from raysearch.networks.capture import capture
from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.models.resnet import build_resnet
from raysearch.trainables.quantization import fold_batch_norm

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def resnet_plan() -> ResNetPlan:
    return ResNetPlan(8, (StagePlan(2, 8), StagePlan(1, 16), StagePlan(1, 16, block="separable")))


@pytest.fixture
def network(resnet_plan: ResNetPlan) -> nn.Module:
    """Its batch norms have seen data, so that folding them changes weights."""
    torch.manual_seed(0)
    model = build_resnet(resnet_plan, 1, 10)
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(16, 1, 8, 8))
    return model.eval()


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folded(network: nn.Module, inputs: torch.Tensor) -> fx.GraphModule:
    """The network, captured, with its batch norms folded."""
    return fold_batch_norm(capture(network, inputs[:2]))


@pytest.fixture(scope="session")
def uniform(resnet_plan: ResNetPlan) -> Callable[[int, int], BitWidthPlan]:
    """A plan with the same bits in every part."""
    parts = resnet_plan.parts()
    return lambda weights, activations: BitWidthPlan(
        dict.fromkeys(parts, weights), dict.fromkeys(parts, activations)
    )
