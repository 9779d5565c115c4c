from __future__ import annotations

import math

import pytest
from fake_run import TARGET

from raysearch.record.run_record import TrialRecord
from raysearch.record.verdicts import compare, noise_of


def trial(latency: float | None, noise: float = 0.0) -> TrialRecord:
    record = TrialRecord("t", "trial", {}, "t", "test", 0.0)
    if latency is not None:
        record.reports[0] = {f"latency_ms/{TARGET}": latency}
        record.measurements = [{"target": TARGET, "noise": noise}]
    return record


@pytest.mark.parametrize(
    ("latency", "noise", "verdict"),
    [
        (0.5, 0.0, "faster"),
        (0.99, 0.0, "not faster"),  # within what the protocol resolves
        (0.95, 0.01, "faster"),
        (0.95, 0.1, "not faster"),  # within the noise
        (1.0, 0.0, "not faster"),
        (2.0, 0.0, "not faster"),
    ],
)
def test_faster_means_by_more_than_the_noise(latency: float, noise: float, verdict: str) -> None:
    times, said = compare(trial(latency, noise), trial(1.0), TARGET)
    assert math.isclose(times, 1 / latency)
    assert said == verdict


def test_nothing_is_said_of_what_was_not_measured() -> None:
    times, said = compare(trial(None), trial(1.0), TARGET)
    assert math.isnan(times)
    assert said == ""
    assert noise_of(trial(1.0, math.nan), TARGET) == 0.0
