from __future__ import annotations

import math

import pytest
from made_up import record_of_figures

from raysearch.record.remarks import about_code, remarks, why_no_front

GOALS = ["minimize rmse", "minimize size_mb"]
METRICS = {"rmse": ""}


def figures(*rmse: float) -> list[dict[str, float]]:
    return [{"rmse": value, "size_mb": 1.0 + i} for i, value in enumerate(rmse)]


def test_nothing_is_said_of_a_run_as_it_should_be() -> None:
    record = record_of_figures(GOALS, figures(3.0)[0], figures(2.0, 1.0), metrics=METRICS)
    assert remarks(record) == []


def test_a_metric_that_is_always_nan_is_named() -> None:
    record = record_of_figures(GOALS, figures(math.nan)[0], figures(math.nan, math.nan), metrics=METRICS)
    assert remarks(record) == [
        "rmse had no finite value in 2 of the 2 trials that reported it: such a trial is not on the front.",
        "The hypervolume is not known: the parent has no finite rmse.",
    ]
    assert why_no_front(record) == "No complete trial has a finite figure in every objective."


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_at_times_is_counted(value: float) -> None:
    record = record_of_figures(GOALS, figures(3.0)[0], figures(2.0, value, 1.0), metrics=METRICS)
    assert remarks(record)[0].startswith("rmse had no finite value in 1 of the 3 trials that reported it")


def test_a_constant_objective_is_said() -> None:
    record = record_of_figures(GOALS, figures(2.5)[0], figures(*[2.5] * 5), metrics=METRICS)
    assert remarks(record) == ["rmse is 2.5 in all 5 complete trials: as an objective it tells none apart."]
    alone = record_of_figures(GOALS, figures(2.5)[0], figures(*[2.5] * 4), metrics=METRICS)
    assert remarks(alone) == []  # few trials are no evidence


def test_a_used_up_space_is_said() -> None:
    trials = figures(2.0, 1.0)
    record = record_of_figures(GOALS, figures(3.0)[0], trials, metrics=METRICS, asked=64)
    assert remarks(record) == [
        "The space is used up: it gave 2 different variants, and 64 trials were asked for."
    ]
    record.sessions[-1]["action"] = "timeout"
    assert remarks(record) == []


def test_a_used_up_space_is_said_where_candidates_are_screened() -> None:
    trials = figures(*map(float, range(1, 11)))
    record = record_of_figures(GOALS, figures(30.0)[0], trials, metrics=METRICS, asked=4)
    assert remarks(record) == []
    record.header["study"]["search"]["screen"] = 4
    assert remarks(record) == [
        "The space is used up: it gave 10 different variants, and 4 trials were asked for, of 16 candidates."
    ]
    for trial in record.searched()[:2]:  # which train whatever the screen
        trial.origin = "design"
    assert record.most_trials == 10
    assert remarks(record) == []


def test_code_of_the_task_that_changed_is_said_once_a_session() -> None:
    record = record_of_figures(GOALS, figures(3.0)[0], figures(2.0, 1.0), metrics=METRICS)
    record.header["study"]["task"] = {"import": "mine:make"}
    last = record.sessions.pop()

    def begin(time: float, **code: str) -> None:
        record.sessions.append({"event": "session", "time": time, "action": "resume", **code})

    begin(0.5)  # of an earlier version
    begin(0.6, code="a")
    begin(0.7, code="a")
    assert about_code(record) == []
    begin(2.5, code="b")
    begin(2.6)
    begin(2.7, code="b")
    record.sessions.append(last)
    (remark,) = remarks(record)
    assert remark.startswith(
        "After 1 trial the code of the task was changed (mine:make, or what it imports): figures"
    )
    assert about_code(record, since=record.sessions[-2]) == []
    begin(9.0, code="a")
    (again,) = about_code(record, since=record.sessions[-1])
    assert again.startswith("After 2 trials the code of the task was changed")


def test_latencies_that_were_measured_beside_another_load_are_said() -> None:
    record = record_of_figures(GOALS, figures(3.0)[0], figures(2.0, 1.0), metrics=METRICS)
    assert remarks(record) == []
    best = record.searched()[-1]
    best.measurements += [{"target": "onnxruntime-cpu", "contended": False}]
    assert remarks(record) == []
    best.measurements += [{"target": "onnxruntime-cpu", "contended": True}]
    (remark,) = remarks(record)
    assert remark.startswith("On onnxruntime-cpu 1 of the front were measured beside another load")


def test_a_front_beyond_the_reference_is_said() -> None:
    trials = [{"rmse": 7.0, "size_mb": 1.0}, {"rmse": 8.0, "size_mb": 0.5}]  # more than twice the parent's
    record = record_of_figures(GOALS, {"rmse": 3.0, "size_mb": 2.0}, trials, metrics=METRICS)
    assert remarks(record) == [
        "The hypervolume is 0: no variant is better than the reference point in every objective, and none at "
        "all in minimize rmse (6)."
    ]
    trials = [{"rmse": 7.0, "size_mb": 1.0}, {"rmse": 2.0, "size_mb": 9.0}]
    record = record_of_figures(GOALS, {"rmse": 3.0, "size_mb": 2.0}, trials, metrics=METRICS)
    assert remarks(record)[0].endswith("than the reference point in every objective.")


def test_each_constraint_says_how_often_it_is_missed() -> None:
    record = record_of_figures(
        GOALS,
        figures(3.0)[0],
        figures(2.0, 1.0),
        metrics=METRICS,
        constraints=["rmse <= 1", "size_mb <= 0.5"],
    )
    assert why_no_front(record) == (
        "No complete trial keeps the constraints yet: rmse <= 1 is missed by 1 of 2, size_mb <= 0.5 is "
        "missed by 2 of 2."
    )


def test_without_a_complete_trial_it_says_how_they_ended() -> None:
    begun = record_of_figures(GOALS, figures(3.0)[0], [], metrics=METRICS)
    assert why_no_front(begun) == "No trial is complete yet."
    stopped = record_of_figures(GOALS, figures(math.nan)[0], figures(math.nan, math.nan), metrics=METRICS)
    for trial in stopped.searched():
        trial.outcome = "stopped"
    assert why_no_front(stopped) == "No trial is complete: 2 stopped early, 0 failed."
    assert remarks(stopped)[0].startswith("rmse had no finite value in 2 of the 2 trials")
