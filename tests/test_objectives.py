from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.basics.failures import UserError
from raysearch.metrics import is_static
from raysearch.objectives import Constraint, Goals, Objective

METRICS = st.sampled_from(
    ["accuracy", "latency_ms/onnxruntime-cpu", "latency_ms/tensorrt:0", "size_mb", "a.b_2"]
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("metric", ["latency_ms/onnxruntime-cpu", "size_mb", "macs", "peak_memory_mb/cpu"])
def test_static_metrics(metric):
    assert is_static(metric)


@pytest.mark.parametrize("metric", ["accuracy", "accuracy/onnxruntime-cpu", "nonzero_rate", "size_mb_float"])
def test_trained_metrics(metric):
    assert not is_static(metric)


@pytest.mark.parametrize(
    ("text", "maximize"),
    [("maximize x", True), ("minimise x", False), ("  maximise   x ", True), ("minimize x", False)],
)
def test_objective_is_read(text, maximize):
    assert Objective.parse(text) == Objective("x", maximize)


@given(METRICS, st.booleans())
def test_objective_round_trip(metric, maximize):
    objective = Objective(metric, maximize)
    assert Objective.parse(str(objective)) == objective


@pytest.mark.parametrize("text", ["", "accuracy", "max accuracy", "maximize", "maximize a b", "minimize 3"])
def test_bad_objective_is_refused(text):
    with pytest.raises(ValueError, match='is not "maximize METRIC"'):
        Objective.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy >= 0.9", Constraint("accuracy", False, 0.9)),
        ("accuracy>=.9", Constraint("accuracy", False, 0.9)),
        ("size_mb <= 1e-1", Constraint("size_mb", True, 0.1)),
        ("x >= -3", Constraint("x", False, -3.0)),
        ("accuracy >= parent - 0.02", Constraint("accuracy", False, -0.02, 1.0)),
        ("accuracy >= parent-0.02", Constraint("accuracy", False, -0.02, 1.0)),
        ("accuracy >= parent", Constraint("accuracy", False, 0.0, 1.0)),
        ("latency_ms/tensorrt:0 <= 0.5 parent", Constraint("latency_ms/tensorrt:0", True, 0.0, 0.5)),
        ("latency_ms/a-b <= 0.5*parent + 1", Constraint("latency_ms/a-b", True, 1.0, 0.5)),
    ],
)
def test_constraint_is_read(text, expected):
    assert Constraint.parse(text) == expected


@given(METRICS, st.booleans(), NUMBERS, NUMBERS)
def test_constraint_round_trip(metric, upper, offset, factor):
    constraint = Constraint(metric, upper, offset, factor)
    assert Constraint.parse(str(constraint)) == constraint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "accuracy",
        "accuracy > 0.9",
        "accuracy >= ",
        "accuracy >= much",
        "accuracy >= 1 2",
        "<= 3",
        "a == 1",
    ],
)
def test_bad_constraint_is_refused(text):
    with pytest.raises(ValueError, match='is not "METRIC <= NUMBER"'):
        Constraint.parse(text)


def test_a_limit_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        Constraint.parse("size_mb <= 1e999")


def test_violation_is_a_share_of_the_limit():
    assert Constraint.parse("size_mb <= 2").violation(3.0) == pytest.approx(0.5)
    assert Constraint.parse("accuracy >= 0.8").violation(0.6) == pytest.approx(0.25)
    assert Constraint.parse("x <= 0").violation(3.0) == pytest.approx(3.0)
    assert Constraint.parse("latency_ms <= 0.5 parent").violation(3.0, parent=4.0) == pytest.approx(0.5)


@given(NUMBERS, NUMBERS, st.booleans())
def test_violation_is_zero_exactly_when_the_limit_is_kept(value, limit, upper):
    violation = Constraint("x", upper, limit).violation(value)
    kept = value <= limit if upper else value >= limit
    assert not math.isnan(violation)
    # A miss may be too small beside a huge limit to be told from zero, never the other way round.
    assert violation == 0 if kept else violation >= 0


def test_violation_of_odd_values():
    upper = Constraint.parse("size_mb <= 2")
    assert upper.violation(math.nan) == upper.violation(math.inf) == math.inf
    assert upper.violation(-math.inf) == 0
    relative = Constraint.parse("accuracy >= parent")
    assert relative.violation(0.1) == relative.violation(0.1, parent=math.inf) == 0


def test_goals_need_distinct_objectives():
    with pytest.raises(ValueError, match="at least one"):
        Goals.parse([])
    with pytest.raises(ValueError, match="'size_mb' twice"):
        Goals.parse(["minimize size_mb", "maximize size_mb"])


@pytest.mark.parametrize(
    ("constraints", "sound"),
    [
        (["a <= 1", "a >= 2"], False),
        (["a >= parent - 0.1", "a <= parent - 0.2"], False),
        (["a <= -2", "a >= -1"], False),
        (["a <= 1", "a >= 1"], True),
        (["a <= 1", "a <= 2"], True),
        (["a <= 1", "b >= 2"], True),
        (["a <= 1", "a >= parent"], True),  # the parent decides
        (["a >= 2 parent", "a <= 0.5 parent"], True),  # as it does where it may be negative
        (["size_mb >= 2 parent", "size_mb <= 0.5 parent"], False),
        (["latency_ms/cpu >= parent + 1", "latency_ms/cpu <= 0.5 parent"], False),
        (["latency_ms/cpu >= parent - 1", "latency_ms/cpu <= 0.5 parent"], True),
        (["size_mb <= 2 parent", "size_mb >= 0.5 parent"], True),
    ],
)
def test_constraints_that_contradict_each_other_are_refused(constraints, sound):
    if sound:
        Goals.parse(["maximize a"], constraints)
    else:
        with pytest.raises(ValueError, match="cannot both be kept"):
            Goals.parse(["maximize a"], constraints)


@pytest.mark.parametrize(
    ("constraint", "possible"),
    [
        ("size_mb <= -1", False),
        ("latency_ms/cpu <= -0.5 parent", False),
        ("macs <= -0.5 parent - 3", False),
        ("nonzero_rate >= 1.5", False),
        ("size_mb <= parent - 1", True),
        ("size_mb >= -1", True),
        ("nonzero_rate >= 1", True),
        ("rmse <= -1", True),  # a task's metric may have any sign
    ],
)
def test_a_limit_that_no_value_keeps_is_refused(constraint, possible):
    if possible:
        Goals.parse(["maximize a"], [constraint])
    else:
        with pytest.raises(UserError, match="can never be kept"):
            Goals.parse(["maximize a"], [constraint])


@pytest.mark.parametrize(
    ("objectives", "constraints", "expected"),
    [
        (["minimize rmse"], [], False),
        (["maximize rmse/cpu"], [], True),
        (["minimize size_mb"], ["rmse <= 3"], False),
        (["minimize size_mb"], ["rmse/cpu >= parent - 3"], True),
        (["minimize rmse"], ["rmse >= 3"], False),  # the objective says it
        (["minimize size_mb"], [], None),
    ],
)
def test_goals_say_which_way_a_metric_is_better(objectives, constraints, expected):
    goals = Goals.parse(objectives, constraints)
    for key in ("rmse", "rmse/cpu", "test_rmse", "test_rmse/torch"):
        assert goals.higher_is_better(key) is expected
    assert (goals.higher_is_better("accuracy/cpu"), goals.higher_is_better("latency_ms/x")) == (True, False)


def test_costs_are_minimised_and_nan_where_absent():
    costs = Goals.parse(["maximize accuracy", "minimize size_mb"]).costs({"accuracy": 0.9})
    assert costs[0] == -0.9
    assert math.isnan(costs[1])


def goals(*constraints: str) -> Goals:
    parent = {0: {"latency_ms": 4.0}, 1: {"accuracy": 0.5}, 3: {"accuracy": 0.8}, 10: {"accuracy": 0.9}}
    return Goals.parse(["maximize accuracy"], constraints, last_step=10, parent=parent)


def test_static_limits_count_at_every_step():
    limits = goals("latency_ms <= 0.5 parent")
    assert limits.violation({"latency_ms": 3.0}, 0) == limits.violation({"latency_ms": 3.0}, 10) == 0.5


def test_relative_limits_on_trained_metrics_are_read_at_the_same_step():
    limits = goals("accuracy >= parent")
    values = {"accuracy": 0.6}
    assert limits.violation(values, 1) == 0
    assert limits.violation(values, 2) == 0  # the parent's last figure before step 2
    assert limits.violation(values, 3) == pytest.approx(0.25)
    assert limits.violation(values, 0) == 0  # its first figure
    assert limits.violation(values, 10) == pytest.approx(1 / 3)


def test_absolute_limits_on_trained_metrics_count_from_the_last_step():
    limits = goals("accuracy >= 0.8")
    assert limits.violation({"accuracy": 0.4}, 9) == 0
    assert limits.violation({"accuracy": 0.4}, 10) == pytest.approx(0.5)


@pytest.mark.parametrize("constraint", ["accuracy >= 0.8", "accuracy >= parent", "latency_ms <= 5"])
def test_an_absent_metric_is_unknown_until_the_last_step(constraint):
    assert goals(constraint).violation({}, 5) == 0
    assert goals(constraint).violation({}, 10) == math.inf


def test_nan_is_no_absent_metric():
    assert goals("latency_ms <= 5").violation({"latency_ms": math.nan}, 0) == math.inf
    assert goals("accuracy >= parent").violation({"accuracy": math.nan}, 3) == math.inf


def test_without_a_parent_relative_limits_are_kept():
    limits = Goals.parse(["maximize accuracy"], ["accuracy >= parent"])
    assert limits.violation({"accuracy": 0.0}, 1) == 0


def test_violations_add_up():
    limits = goals("latency_ms <= 2", "accuracy >= 0.8")
    assert limits.violation({"latency_ms": 3.0, "accuracy": 0.4}, 10) == pytest.approx(1.0)
    assert goals().violation({}, 10) == 0.0
