from __future__ import annotations

import math

import pytest

from raysearch.metrics import find
from raysearch.reporting.figures import UNKNOWN, duration, metric_value, number, times


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04828, "0.04828"),
        (1234, "1234"),
        (12345, "12.3 k"),
        (4.1e6, "4.1 M"),
        (2e9, "2 G"),
        (math.nan, UNKNOWN),
        (-math.inf, "-inf"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_metrics_are_shown_in_their_units() -> None:
    assert metric_value(find("accuracy"), 0.98765) == "98.77 %"
    assert metric_value(find("accuracy/torch-cpu"), 0.5) == "50.00 %"
    assert metric_value(find("size_mb"), 0.5) == "0.5"


@pytest.mark.parametrize(("value", "text"), [(0.35, "0.35"), (98.8, "98.8"), (-2.5, "-2.5")])
def test_a_metric_of_unknown_unit_is_a_plain_number(value: float, text: str) -> None:
    assert metric_value(find("rmse", {"rmse": ""}), value) == text
    assert metric_value(find("accuracy", {"accuracy": ""}), value) == text


def test_durations_and_ratios() -> None:
    assert [duration(s) for s in (5, 245, 7440, math.inf)] == ["0:05", "4:05", "2 h 04", UNKNOWN]
    assert times(3.24159).startswith("3.24")
    assert times(math.nan) == UNKNOWN
