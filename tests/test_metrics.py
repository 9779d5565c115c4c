from __future__ import annotations

import pytest

from raysearch.basics.spelling import did_you_mean, nearest
from raysearch.metrics import check_metrics, reported
from raysearch.objectives import Constraint, Objective


@pytest.mark.parametrize("metric", reported(["a", "b"]))
def test_every_reported_metric_is_accepted(metric: str) -> None:
    check_metrics([Objective(metric, True)], [Constraint(metric, True, 1.0)], ["a", "b"])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("latency_ms/c", "did you mean 'latency_ms/"),
        ("acuracy", "did you mean 'accuracy'"),
        ("energy_mj/a", "energy meter"),
    ],
)
def test_what_nothing_reports_is_refused(metric: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_metrics([Objective(metric, False)], [], ["a", "b"])
    with pytest.raises(ValueError, match=message):
        check_metrics([], [Constraint(metric, True, 1.0)], ["a", "b"])


def test_a_word_that_is_begun_comes_before_one_that_is_like_it() -> None:
    assert nearest("acc", ["macs", "accuracy"]) == "accuracy"
    assert nearest("xyz", ["macs", "accuracy"]) is None
    assert did_you_mean("xyz", ["macs"]) == "known: macs"
