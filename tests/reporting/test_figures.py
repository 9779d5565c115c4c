from __future__ import annotations

import math

import pytest

from raysearch.reporting.figures import UNKNOWN, duration, label, metric_value, number, times


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04828, "0.04828"),
        (1234, "1234"),
        (12345, "12.3 k"),
        (4.1e6, "4.1 M"),
        (2e9, "2 G"),
        (math.nan, UNKNOWN),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_metrics_are_shown_in_their_units() -> None:
    assert metric_value("accuracy", 0.98765) == "98.77 %"
    assert metric_value("accuracy/torch-cpu", 0.5) == "50.00 %"
    assert metric_value("size_mb", 0.5) == "0.5"
    assert label("latency_ms/torch-cpu") == "latency, ms (torch-cpu)"
    assert label("loss") == "loss"


def test_durations_and_ratios() -> None:
    assert [duration(s) for s in (5, 245, 7440, math.inf)] == ["0:05", "4:05", "2 h 04", UNKNOWN]
    assert times(3.24159).startswith("3.24")
    assert times(math.nan) == UNKNOWN
