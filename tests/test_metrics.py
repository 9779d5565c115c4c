from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import make_events, write_run
from ray.tune import Trainable
from ray.tune.result import AUTO_RESULT_KEYS, DEBUG_METRICS

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean, nearest
from raysearch.metrics import OWN, PER_TARGET, check_names, find, is_static, reported
from raysearch.objectives import Constraint, Goals, Objective
from raysearch.record.results import RunResult

BOTH = dict.fromkeys(["a", "b"], PER_TARGET)
UNMETERED = dict.fromkeys(["a", "b"], tuple(name for name in PER_TARGET if name != "energy_mj"))
TASK = {"rmse": "", "r2": ""}


@pytest.mark.parametrize("metric", reported(BOTH, TASK))
def test_every_reported_metric_is_accepted(metric: str) -> None:
    goals = Goals((Objective(metric, True),), (Constraint(metric, True, 1.0),))
    goals.check_reported(reported(BOTH, TASK))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("latency_ms/c", "did you mean 'latency_ms/"),
        ("acuracy", "did you mean 'accuracy'"),
        ("energy_mj/a", "energy meter"),
        ("rmse", "is on a metric that nothing reports"),
    ],
)
def test_what_nothing_reports_is_refused(metric: str, message: str) -> None:
    for goals in (
        Goals((Objective(metric, False),)),
        Goals((Objective("accuracy", True),), (Constraint(metric, True, 1.0),)),
    ):
        with pytest.raises(UserError, match=message):
            goals.check_reported(reported(UNMETERED))


def test_what_only_finalists_are_measured_for_is_refused() -> None:
    known, late = reported({"a": ["peak_memory_mb"]}), ["latency_ms/a", "energy_mj/a"]
    for metric in late:
        goals = Goals((Objective(metric, False),))
        with pytest.raises(
            UserError, match="a compiles a model for so long that it is measured on finalists"
        ):
            goals.check_reported(known, late)
    Goals((Objective("peak_memory_mb/a", False),)).check_reported(known, late)


def test_energy_is_a_goal_where_there_is_a_meter() -> None:
    Goals((Objective("energy_mj/a", False),)).check_reported(reported(BOTH))
    assert is_static("energy_mj/a")
    assert find("energy_mj/a").title == "energy, mJ (a)"


def test_keys_are_read() -> None:
    assert reported(BOTH, TASK)[:2] == ["rmse", "r2"]
    assert {"rmse/a", "r2/b", "latency_ms/b", "size_mb"} <= set(reported(BOTH, TASK))
    assert not {"latency_ms", "accuracy", "size_mb/a"} & set(reported(BOTH, TASK))
    assert len(set(reported(BOTH, TASK))) == len(reported(BOTH, TASK))
    assert [find(k).title for k in ("latency_ms/cpu", "latency_ms", "macs", "test_accuracy", "loss")] == [
        "latency, ms (cpu)", "latency, ms", "MACs", "test accuracy", "loss",
    ]  # fmt: skip
    assert find("test_rmse/cpu", TASK).title == "test rmse (cpu)"
    assert (find("accuracy/cpu").unit, find("rmse", TASK).unit) == ("share", "")
    # A task's own metric may be called accuracy and lie in [0, 100].
    in_per_cent = find("accuracy", {"accuracy": ""})
    assert (in_per_cent.unit, in_per_cent.higher_is_better) == ("", True)
    assert (find("accuracy").higher_is_better, find("rmse", TASK).higher_is_better) == (True, None)


def test_what_depends_on_the_weights_is_not_static() -> None:
    assert is_static("latency_ms/cpu")
    assert is_static("size_mb")
    assert not any(map(is_static, ("accuracy", "nonzero_rate", "rmse", "test_size_mb", "latency")))


@pytest.mark.parametrize("name", ["rmse", "IoU", "accuracy", "_f1", "top5", "lost", "node"])
def test_names_of_a_task(name: str) -> None:
    check_names([name])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "metrics is empty"),
        (["root mse"], "'root mse': give a word"),
        (["rmse/cpu"], "give a word"),
        ([3], "has the name 3: give a word"),
        (["test_rmse"], "'test_rmse', which is raysearch's own"),
        (["loss"], "raysearch's own"),
        (["parent"], "raysearch's own"),
        *(([name], "raysearch's own") for name in OWN),
        *(
            ([name], "raysearch's own")
            for name in ("predicted", "searched_rmse", "ratio", "raysearch", "done")
        ),
    ],
)
def test_names_that_are_taken_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_names(names)


def test_a_word_that_is_begun_comes_before_one_that_is_like_it() -> None:
    assert nearest("acc", ["macs", "accuracy"]) == "accuracy"
    assert nearest("xyz", ["macs", "accuracy"]) is None
    assert did_you_mean("xyz", ["macs"]) == "known: macs"


def test_what_ray_tune_adds_to_every_result_is_refused() -> None:
    class Nothing(Trainable):
        def step(self) -> dict[str, bool]:
            return {"done": True}

    added = {*DEBUG_METRICS, *AUTO_RESULT_KEYS, *Nothing({}).train()}
    for name in added:
        with pytest.raises(UserError, match="raysearch's own"):
            check_names([name])


def test_what_tables_of_trials_have_besides_is_refused(tmp_path: Path) -> None:
    result = RunResult(write_run(tmp_path, make_events()))
    own = {column for table in (result.trials, result.front) for column in table if "/" not in column}
    for name in own - {"accuracy"}:
        with pytest.raises(UserError, match="raysearch's own"):
            check_names([name])
