from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.trainables.data.batches import Batch
from raysearch.trainables.evaluation import Metric
from raysearch.trainables.parts import PARTS, Parts, standard_error

METRICS = {"error": lambda outputs, targets: (outputs - targets).abs().mean()}


def in_parts(predicted: list[Batch], metrics: Mapping[str, Metric]) -> dict[str, list[float]]:
    parts = Parts(metrics)
    assert [id(batch) for batch in parts.watch(predicted)] == [id(batch) for batch in predicted]
    return parts.values()


def batches(total: int, size: int) -> list[Batch]:
    outputs = torch.arange(total, dtype=torch.float32)
    return [(part, torch.zeros_like(part)) for part in outputs.split(size)]


@pytest.mark.parametrize("size", [7, 64, 256])
def test_every_tenth_example_is_a_part_whatever_the_batches(size: int) -> None:
    found = in_parts(batches(200, size), METRICS)["error"]
    assert found == [float(np.arange(k, 200, PARTS).mean()) for k in range(PARTS)]


def test_the_parts_of_a_mean_give_its_standard_error() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    found = in_parts([(values, torch.zeros(5000))], {"mean": lambda o, t: o.mean()})["mean"]
    assert standard_error(found) == pytest.approx(float(values.std()) / 5000**0.5, rel=0.5)


def test_networks_that_err_on_the_same_examples_differ_by_less_than_each_varies() -> None:
    noise = torch.Generator().manual_seed(0)
    hard = torch.randn(1000, generator=noise)
    metrics = {"mean": lambda o, t: o.mean()}
    one, other = (
        in_parts([(hard + 0.1 * torch.randn(1000, generator=noise), hard)], metrics)["mean"] for _ in range(2)
    )
    assert standard_error(one, other) < standard_error(one) / 3


class Running:
    """The mean error, batch by batch."""

    def reset(self) -> None:
        self.total, self.seen = 0.0, 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.total, self.seen = (
            self.total + float((outputs - targets).abs().sum()),
            self.seen + len(outputs),
        )

    def compute(self) -> float:
        return self.total / self.seen


def test_running_metrics_have_parts_too() -> None:
    metric = Running()
    assert in_parts(batches(200, 64), {"error": metric}) == in_parts(batches(200, 64), METRICS)


def test_running_metrics_are_left_as_they_are_and_hold_no_batch() -> None:
    metric = Running()
    metric.reset()
    parts = Parts({"error": metric})
    assert sum(1 for _ in parts.watch(batches(200, 64))) == 4
    assert metric.seen == 0
    assert not any(parts._kept)


class FailsOnFew(Running):
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        raise ValueError("too few")


def test_a_running_metric_that_fails_on_a_part_has_none() -> None:
    assert in_parts(batches(200, 64), {"odd": FailsOnFew(), **METRICS}).keys() == {"error"}


def fails_on_few(outputs: Tensor, targets: Tensor) -> Tensor:
    if len(outputs) < 100:
        raise ValueError("only one class present")
    return outputs.mean()


@pytest.mark.parametrize("metric", [fails_on_few, lambda o, t: torch.tensor(float("nan"))])
def test_a_metric_without_a_value_on_a_part_has_none(metric: Any) -> None:
    assert in_parts(batches(200, 64), {"odd": metric, **METRICS}).keys() == {"error"}


def test_what_cannot_be_divided_has_no_parts() -> None:
    assert in_parts(batches(PARTS * 5 - 1, 16), METRICS) == {}
    ragged = [(torch.zeros(64), [torch.zeros(3) for _ in range(64)])]  # boxes of each image
    assert in_parts(ragged, METRICS) == {}
