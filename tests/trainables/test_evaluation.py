from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from raysearch.trainables.evaluation import class_axes, evaluate, predictions, score


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


METRICS = {"accuracy": _accuracy}


class Mean:
    """A running metric: the mean of the outputs' first column; counts the batches that it saw."""

    def __init__(self) -> None:
        self.total, self.seen, self.batches = 99.0, 99, 0

    def reset(self) -> None:
        self.total, self.seen, self.batches = 0.0, 0, 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.total, self.seen = self.total + float(outputs[:, 0].sum()), self.seen + len(targets)
        self.batches += 1

    def compute(self) -> Tensor:
        return torch.tensor(self.total / self.seen)


class Two(nn.Module):
    """Takes two inputs and gives a mapping."""

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Any]:
        return {"sum": a + b, "none": None}


def _data(n: int) -> TensorDataset:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x.argmax(1))


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_a_module_and_a_function_are_evaluated_alike(batch_size: int) -> None:
    def scaled(batch: Tensor) -> Tensor:
        assert len(batch) <= batch_size
        return batch * 2

    for model in (scaled, nn.Identity()):
        assert evaluate(model, _data(10), METRICS, batch_size=batch_size) == {"accuracy": 1.0}
    assert evaluate(lambda x: -x, _data(10), METRICS, batch_size=batch_size)["accuracy"] < 1.0


def test_functions_see_the_whole_split_at_once_and_in_order() -> None:
    data, seen = _data(10), []

    def look(outputs: Tensor, targets: Tensor) -> float:
        seen.append((outputs, targets))
        return 0.0

    evaluate(nn.Identity(), data, {"look": look}, batch_size=3)
    assert torch.equal(seen[0][0], data.tensors[0])
    assert torch.equal(seen[0][1], data.tensors[1])
    assert [len(y) for _, y in predictions(nn.Identity(), data, batch_size=4)] == [4, 4, 2]


def test_running_metrics_see_one_batch_at_a_time_in_the_same_pass() -> None:
    calls = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x

    data, mean = _data(10), Mean()
    found = evaluate(model, data, {"mean": mean, **METRICS}, batch_size=4)
    assert list(found) == ["mean", "accuracy"]
    assert found["mean"] == pytest.approx(float(data.tensors[0][:, 0].mean()))
    assert calls == [4, 4, 2]
    assert mean.total == 99  # the task's own is left as it was


def test_several_inputs_and_outputs_are_nests() -> None:
    a, b = torch.rand(5, 2), torch.rand(5, 2)
    data = TensorDataset(a, b, torch.zeros(5))
    metrics = {"largest": lambda outputs, targets: (outputs["sum"] - (a + b)).abs().max()}
    assert evaluate(Two(), data, metrics, batch_size=2) == {"largest": 0.0}


def test_batches_of_different_lengths_are_for_running_metrics_only() -> None:
    batches = [(torch.ones(2, n), torch.zeros(2)) for n in (3, 4)]
    assert score(batches, {"mean": Mean()}) == {"mean": 1.0}
    with pytest.raises(ValueError, match=r"cannot be joined .*: pad all examples to one length"):
        score(batches, METRICS)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5), torch.tensor([0.5])])
def test_a_metric_gives_one_number_of_any_type(value: Any) -> None:
    found = score([(torch.zeros(1), torch.zeros(1))], {"m": lambda outputs, targets: value})
    assert found == {"m": 0.5}
    assert type(found["m"]) is float


@pytest.mark.parametrize("value", [math.nan, -math.inf, -3])
def test_any_number_is_a_value(value: float) -> None:
    found = score([(torch.zeros(1), torch.zeros(1))], {"m": lambda outputs, targets: value})["m"]
    assert found == value or (math.isnan(value) and math.isnan(found))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"f1": 0.5}, "gives a dict"),
        (None, "gives a NoneType"),
        (torch.zeros(3), r"gives a Tensor of shape \(3,\)"),
        (np.zeros((2, 2)), r"gives a ndarray of shape \(2, 2\)"),
        ([0.5], "gives a list"),
        ("0.5", "gives a str"),
    ],
)
def test_what_is_no_number_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"metrics\['m'\] {message}: it must give one number"):
        score([(torch.zeros(1), torch.zeros(1))], {"m": lambda outputs, targets: value})


def test_dropout_is_off_and_the_mode_is_restored() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9))
    model.train()
    assert evaluate(model, _data(20), METRICS) == evaluate(model, _data(20), METRICS)
    assert model.training
    assert model[1].training


def test_parts_in_another_mode_stay_in_it() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model.train()
    model[1].eval()
    evaluate(model, _data(4), METRICS)
    assert model[0].training
    assert not model[1].training


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        evaluate(nn.Identity(), TensorDataset(torch.zeros(0, 3), torch.zeros(0)), METRICS)


def test_the_axis_of_classes_is_that_which_targets_lack() -> None:
    labels, tags = torch.zeros(4).long(), torch.zeros(4, 5).long()
    assert class_axes(torch.rand(4, 3), labels) == [1]
    assert class_axes(torch.rand(4, 3, 5), tags) == [1]
    assert class_axes(torch.rand(4, 5, 3), tags) == [2]
    assert class_axes(torch.rand(4, 1), labels) == [None], "one logit is no choice of classes"
    assert class_axes(torch.rand(4, 3), torch.rand(4)) == [None]
    assert class_axes(torch.zeros(4, 3).long(), labels) == [None]
    assert class_axes({"a": torch.rand(4, 3), "b": torch.rand(4)}, {"b": torch.rand(4), "a": labels}) == [
        1,
        None,
    ]
    assert class_axes((torch.rand(4, 2), torch.rand(4, 3)), labels) == [1, 1]
