from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from cpu_time import cpu_seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision
from raysearch.schedulers.median_stopping import MedianStopping
from raysearch.testing import check_scheduler

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP
ONE = Goals.parse(["minimize f"])
TWO = Goals.parse(["minimize f", "maximize g"], ["size_mb <= 1"])
NUMBERS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, -1.0, 1e308, -1e308, math.inf, -math.inf])
ODD = st.one_of(NUMBERS, st.just(math.nan))
METRICS = {"f": ODD, "g": ODD, "size_mb": st.sampled_from([0.5, 1.0, 2.0, math.nan])}
VALUES = st.fixed_dictionaries({}, optional=METRICS)
REPORTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 10), VALUES), max_size=60)


def run_curve(scheduler: MedianStopping, trial: str, curve: Sequence[float]) -> list[Decision]:
    """The decisions on a curve that starts at step 1, to its end."""
    return [scheduler.decide(trial, step, {"f": f}) for step, f in enumerate(curve, start=1)]


@pytest.mark.parametrize("order", ["epsilon_net", "hypervolume"])
def test_it_keeps_the_contract(order):
    check_scheduler(lambda goals: MedianStopping(goals, max_step=9, order=order))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"grace": 0}, "grace is 0"),
        ({"grace": 10}, "grace is 10.*max_step 9"),
        ({"min_trials": 0}, "min_trials is 0"),
        ({"order": "luck"}, "order is 'luck'.*epsilon_net, hypervolume"),
    ],
)
def test_bad_settings_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        MedianStopping(ONE, **{"max_step": 9, **keywords})


def test_with_one_objective_it_is_the_well_known_rule():
    curves = np.random.default_rng(0).random((60, 9))
    scheduler = MedianStopping(ONE, max_step=9, min_trials=4, grace=2)
    for i, curve in enumerate(curves):
        for step, decision in enumerate(run_curve(scheduler, str(i), curve.tolist()), start=1):
            averages = curves[:i, :step].mean(axis=1)
            worse = len(averages) >= 4 and curve[:step].min() > np.median(averages)
            assert decision is (STOP if worse and step >= 2 else CONTINUE)


def test_equal_trials_go_on():
    scheduler = MedianStopping(TWO, max_step=9, min_trials=1)
    same = {"f": 1.0, "g": 1.0, "size_mb": 0.5}
    assert [scheduler.decide(str(i), 1, same) for i in range(9)] == [CONTINUE] * 9


def test_with_two_objectives_the_worse_half_stops():
    scheduler = MedianStopping(TWO, max_step=9)
    for i in range(8):  # four fronts of two
        scheduler.decide(str(i), 1, {"f": i // 2 + i % 2 * 0.1, "g": -(i // 2) + i % 2 * 0.1, "size_mb": 0.5})
    decisions = [
        scheduler.decide(f"new {f}", 1, {"f": f, "g": -f, "size_mb": 0.5}) for f in (-0.5, 0.5, 2.5, 9.0)
    ]
    assert decisions == [CONTINUE, CONTINUE, STOP, STOP]


def test_a_broken_constraint_comes_after_all_that_keep_it():
    scheduler = MedianStopping(TWO, max_step=9)
    for i in range(5):
        scheduler.decide(str(i), 1, {"f": 9.0, "g": -9.0, "size_mb": 0.5})
    assert scheduler.decide("broken", 1, {"f": 0.0, "g": 0.0, "size_mb": 2.0}) is STOP
    with_one = MedianStopping(Goals.parse(["minimize f"], ["size_mb <= 1"]), max_step=9, min_trials=1)
    with_one.decide("kept", 1, {"f": 9.0, "size_mb": 0.5})
    assert with_one.decide("broken", 1, {"f": 0.0, "size_mb": 2.0}) is STOP


def test_the_best_so_far_is_compared_with_averages():
    scheduler = MedianStopping(ONE, max_step=9, min_trials=1)
    run_curve(scheduler, "a", [2.0, 0.0])  # averages 2 and 1
    assert run_curve(scheduler, "b", [0.5, 9.0]) == [CONTINUE, CONTINUE]
    assert run_curve(scheduler, "c", [1.0, 9.0]) == [CONTINUE, CONTINUE]  # medians 1.25 and 2.875
    assert run_curve(scheduler, "d", [1.1]) == [STOP]  # a median of 1


def test_a_metric_before_training_says_nothing_of_a_trial():
    scheduler = MedianStopping(ONE, max_step=9, min_trials=1)
    run_curve(scheduler, "a", [0.5, 0.4])
    assert scheduler.decide("b", 0, {"f": 0.01}) is CONTINUE  # of inherited weights
    assert scheduler.decide("b", 1, {"f": 0.9}) is STOP


def test_few_others_stop_nothing():
    scheduler = MedianStopping(ONE, max_step=9, min_trials=3)
    assert [scheduler.decide(str(i), 1, {"f": float(i)}) for i in range(4)] == [CONTINUE] * 3 + [STOP]


def test_a_skipped_step_counts_with_what_was_known_before():
    scheduler = MedianStopping(ONE, max_step=9, min_trials=1)
    scheduler.decide("a", 1, {"f": 4.0})
    scheduler.decide("a", 4, {"f": 0.0})
    averages = [step["costs"] for step in scheduler.state()["steps"]]
    assert averages[:5] == [[[4.0]], [[4.0]], [[4.0]], [[2.0]], []]


def test_nan_stops_and_does_not_count():
    scheduler = MedianStopping(ONE, max_step=9)
    assert run_curve(scheduler, "a", [1.0, math.nan]) == [CONTINUE, STOP]
    assert [len(step["trials"]) for step in scheduler.state()["steps"][:3]] == [1, 0, 0]


@pytest.mark.parametrize("step", [0, 10, 11])
def test_outside_the_epochs_nothing_is_stopped(step):
    scheduler = MedianStopping(ONE, max_step=9, min_trials=1)
    assert {scheduler.decide(str(i), step, {"f": float(i)}) for i in range(9)} == {CONTINUE}


def test_what_is_not_known_yet_is_not_judged():
    scheduler = MedianStopping(TWO, max_step=9, min_trials=1)
    for i in range(5):
        scheduler.decide(str(i), 1, {"f": float(i), "g": 1.0, "size_mb": 0.5})
    assert scheduler.decide("silent", 1, {"size_mb": 0.5}) is CONTINUE
    assert scheduler.decide("half", 1, {"f": 9.0, "size_mb": 0.5}) is STOP


@given(REPORTS, st.integers(0, 60))
def test_state_and_load_change_no_later_decision(reports, cut):
    one, two = (MedianStopping(TWO, max_step=9, min_trials=1) for _ in range(2))
    for trial, step, values in reports[:cut]:
        one.decide(str(trial), step, values)
    two.load(json.loads(json.dumps(one.state())))
    for trial, step, values in reports[cut:]:
        assert one.decide(str(trial), step, values) is two.decide(str(trial), step, values)
    assert json.dumps(one.state()) == json.dumps(two.state())


def test_a_state_of_other_steps_is_refused():
    with pytest.raises(ValueError, match=r"steps \[1\] to \[9\], this scheduler \[2\] to \[9\]"):
        MedianStopping(ONE, max_step=9, grace=2).load(MedianStopping(ONE, max_step=9).state())


@given(REPORTS, st.integers(1, 9))
def test_a_newcomer_that_dominates_all_is_never_stopped(reports, step):
    scheduler = MedianStopping(TWO, max_step=9, min_trials=1)
    for trial, at, values in reports:
        scheduler.decide(str(trial), at, values)
    best = {"f": -math.inf, "g": math.inf, "size_mb": 0.1}
    assert scheduler.decide("best", step, best) is CONTINUE


@given(st.lists(st.fixed_dictionaries({"f": NUMBERS, "g": NUMBERS}), min_size=3, max_size=30))
def test_a_newcomer_dominated_by_most_is_stopped(population):
    scheduler = MedianStopping(TWO, max_step=9)
    for i, values in enumerate(population):
        scheduler.decide(str(i), 1, {**values, "size_mb": 0.5})
    assert scheduler.decide("worst", 1, {"f": math.inf, "g": -math.inf, "size_mb": 5.0}) is STOP


@settings(max_examples=20)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=10, max_size=30), st.randoms())
def test_the_last_decision_does_not_depend_on_the_order_before(population, random):
    *others, last = [{"f": f, "g": g, "size_mb": 0.5} for f, g in population]
    outcomes = set()
    for _ in range(3):
        random.shuffle(others)
        scheduler = MedianStopping(TWO, max_step=9)
        for i, values in enumerate(others):
            scheduler.decide(str(i), 1, values)
        outcomes.add(scheduler.decide("last", 1, last))
    assert len(outcomes) == 1


def test_a_repeated_step_changes_nothing():
    scheduler = MedianStopping(ONE, max_step=9, min_trials=1)
    run_curve(scheduler, "a", [1.0, 2.0])
    before = json.dumps(scheduler.state())
    assert run_curve(scheduler, "a", [5.0, 9.0]) == [CONTINUE, CONTINUE]
    assert json.dumps(scheduler.state()) == before


def test_a_decision_is_fast_with_a_thousand_trials_at_a_step():
    scheduler = MedianStopping(TWO, max_step=9)
    points = np.random.default_rng(0).random((1100, 2)).tolist()
    told = [(str(i), 1, {"f": f, "g": g, "size_mb": 0.5}) for i, (f, g) in enumerate(points)]
    for report in told[:1000]:
        scheduler.decide(*report)
    # Under .3 ms on an idle machine; the bound leaves room for a busy one.
    assert cpu_seconds(lambda: [scheduler.decide(*report) for report in told[1000:]]) / 100 < 5e-3
