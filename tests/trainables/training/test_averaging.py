"""The average of weights, against its definition."""

from __future__ import annotations

import pytest
import torch
import zoo
from torch import nn

from raysearch.networks.copying import copy_of
from raysearch.trainables.training.averaging import WeightAverage


def change(module: nn.Module) -> None:
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p))


def test_it_is_the_first_step_then_a_moving_average_statistics_included() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average, expected = WeightAverage(module, 0.75), {}
    before = {key: value.clone() for key, value in average.module.state_dict().items()}
    for step in range(4):
        change(module)
        module(torch.randn(8, 3))
        average.update(module)
        for key, value in module.state_dict().items():
            mean = value if not step or not value.is_floating_point() else 0.75 * expected[key] + 0.25 * value
            expected[key] = mean.clone()
    found = average.module.state_dict()
    assert all(torch.allclose(found[key], value, atol=1e-6) for key, value in expected.items())
    assert found["1.num_batches_tracked"] == 4
    assert not torch.equal(found["0.weight"], before["0.weight"])
    assert not torch.equal(found["0.weight"], module.state_dict()["0.weight"])


def test_a_state_goes_on_to_the_bit() -> None:
    torch.manual_seed(0)
    module = nn.Linear(3, 4)
    average, again = WeightAverage(module, 0.9), WeightAverage(module, 0.9)
    for _ in range(3):
        change(module)
        average.update(module)
    again.load_state_dict(average.state_dict())
    change(module)
    average.update(module)
    again.update(module)
    assert torch.equal(average.module.weight, again.module.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["norms_of_weights", "lstm", "tied_text"])
def test_networks_that_are_hard_to_copy_have_one(kind: str) -> None:
    module = copy_of(zoo.network(kind)).train()
    module(zoo.NETWORKS[kind].inputs(2))
    average = WeightAverage(module, 0.5)
    for _ in range(3):
        average.update(module)
    inputs = zoo.NETWORKS[kind].inputs(2)
    assert torch.allclose(average.module.eval()(inputs), module.eval()(inputs), atol=1e-5)
