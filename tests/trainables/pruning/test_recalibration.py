"""Batch norm's statistics taken anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from raysearch.trainables.pruning.recalibration import recalibrated


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )


def examples(count: int = 300) -> TensorDataset:
    x = 5 + 2 * torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, torch.zeros(count, dtype=torch.long))


def test_statistics_are_those_of_the_examples() -> None:
    model, data = network(), examples()
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    made = recalibrated(model, data, None, seed=0)
    outputs = model[0](data.tensors[0])  # type: ignore[index]
    torch.testing.assert_close(made[1].running_mean, outputs.mean((0, 2, 3)), atol=0.02, rtol=0.02)  # type: ignore[index]
    torch.testing.assert_close(made[1].running_var, outputs.var((0, 2, 3)), atol=0.1, rtol=0.05)  # type: ignore[index]
    assert made[1].momentum == 0.1  # type: ignore[index]
    assert not any(m.training for m in made.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, kept[key])
    for own, other in zip(model.parameters(), made.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("model", [nn.Flatten(), nn.BatchNorm2d(1, track_running_stats=False)])
def test_a_network_that_keeps_none_is_copied(model: nn.Module) -> None:
    made = recalibrated(model, examples(2), None, seed=0)
    assert made is not model
    assert made.state_dict().keys() == model.state_dict().keys()
