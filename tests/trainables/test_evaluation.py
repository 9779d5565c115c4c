from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from raysearch.trainables.evaluation import evaluate, predictions


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


def _data(n: int) -> TensorDataset:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x.argmax(1))


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_a_module_and_a_numpy_function_are_evaluated_alike(batch_size: int) -> None:
    def scaled(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        assert len(batch) <= batch_size
        return batch * 2

    assert evaluate(scaled, _data(10), _accuracy, batch_size) == 1.0
    assert evaluate(nn.Identity(), _data(10), _accuracy, batch_size) == 1.0
    assert evaluate(lambda b: -b, _data(10), _accuracy, batch_size) < 1.0


def test_the_metric_sees_the_whole_split_at_once_and_in_order() -> None:
    data = _data(10)
    logits, labels = predictions(nn.Identity(), data, batch_size=3)
    assert torch.equal(logits, data.tensors[0])
    assert torch.equal(labels, data.tensors[1])


def test_dropout_is_off_and_the_mode_is_restored() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9))
    model.train()
    assert evaluate(model, _data(20), _accuracy) == evaluate(model, _data(20), _accuracy)
    assert model.training
    assert model[1].training


def test_parts_in_another_mode_stay_in_it() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model.train()
    model[1].eval()
    evaluate(model, _data(4), _accuracy)
    assert model[0].training
    assert not model[1].training


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        evaluate(nn.Identity(), TensorDataset(torch.zeros(0, 3), torch.zeros(0)), _accuracy)
