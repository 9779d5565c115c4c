from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision
from raysearch.schedulers.learning_curve import LearningCurveStopping
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, simulate
from raysearch.testing import check_scheduler

CONTINUE, STOP, PAUSE = Decision.CONTINUE, Decision.STOP, Decision.PAUSE
TWO = Goals.parse(["minimize f", "minimize g"], ["size_mb <= 1"])
FORMS = pytest.mark.parametrize("form", ["stop", "promote"])
NUMBERS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, -1.0, 1e308, -1e308, math.inf, -math.inf, math.nan])
METRICS = {"f": NUMBERS, "g": NUMBERS, "size_mb": st.sampled_from([0.5, 1.0, 2.0])}
VALUES = st.fixed_dictionaries({}, optional=METRICS)
REPORTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 10), VALUES), max_size=40)


def power_law(row: int, step: int) -> dict[str, float]:
    """An error that falls from about 1 to a floor of its own, and a size."""
    floor, rate, size = np.random.default_rng(row).random(3)
    return {"f": floor + (1 - floor) * step ** -(0.3 + rate), "g": size}


def run(scheduler: LearningCurveStopping, scale: float = 1.0) -> list[Decision]:
    """The decisions on 60 power laws at 3 workers, f scaled."""

    def values(config, step):
        found = power_law(config["row"], step)
        return {"f": scale * found["f"], "g": found["g"]}

    rows = FixedList([{"row": row} for row in range(60)])
    return [
        r.decision for r in simulate(Problem(values, 27), rows, scheduler, workers=3, max_cost=300).reports
    ]


@FORMS
def test_it_keeps_the_contract(form):
    check_scheduler(lambda goals: LearningCurveStopping(goals, max_step=9, form=form))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"grace": 0}, "grace is 0"),
        ({"grace": 10}, "grace is 10.*max_step 9"),
        ({"form": "luck"}, "form is 'luck'"),
    ],
)
def test_bad_settings_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        LearningCurveStopping(TWO, **{"max_step": 9, **keywords})


@settings(max_examples=40)
@given(REPORTS, st.integers(1, 9))
def test_a_newcomer_that_dominates_all_goes_on(reports, step):
    scheduler = LearningCurveStopping(TWO, max_step=9)
    for trial, at, values in reports:
        scheduler.decide(str(trial), at, values)
    best = {"f": -1e308, "g": -1e308, "size_mb": 0.1}
    assert scheduler.decide("best", step, best) is CONTINUE


@settings(max_examples=40)
@given(REPORTS, st.integers(0, 40), st.sampled_from(["stop", "promote"]))
def test_state_and_load_change_no_later_decision(reports, cut, form):
    one, two = (LearningCurveStopping(TWO, max_step=9, form=form) for _ in range(2))
    for trial, step, values in reports[:cut]:
        one.decide(str(trial), step, values)
    two.load(json.loads(json.dumps(one.state())))
    for trial, step, values in reports[cut:]:
        assert one.decide(str(trial), step, values) is two.decide(str(trial), step, values)
        assert one.promote() == two.promote()
    assert json.dumps(one.state()) == json.dumps(two.state())


@FORMS
def test_the_unit_of_an_objective_change_nothing(form):
    goals = Goals.parse(["minimize f", "minimize g"])
    plain = run(LearningCurveStopping(goals, max_step=27, form=form))
    assert set(plain) == {CONTINUE, STOP if form == "stop" else PAUSE}
    # A power of two: nothing is rounded.
    assert run(LearningCurveStopping(goals, max_step=27, form=form), 1024.0) == plain


def test_accuracy_is_judged_as_error_is():
    up = Goals.parse(["maximize f", "minimize g"])
    down = Goals.parse(["minimize f", "minimize g"])
    assert run(LearningCurveStopping(up, max_step=27), -1.0) == run(LearningCurveStopping(down, max_step=27))


@pytest.mark.parametrize("objectives", [["minimize f"], ["minimize f", "minimize g", "minimize size_mb"]])
def test_one_and_three_objectives(objectives):
    goals = Goals.parse(objectives)
    scheduler = LearningCurveStopping(goals, max_step=9)

    def values(config, step):
        return {**power_law(config["row"], step), "size_mb": float(config["row"] % 5)}

    rows = FixedList([{"row": row} for row in range(40)])
    reports = simulate(Problem(values, 9), rows, scheduler, workers=2, max_trials=40).reports
    assert {STOP, CONTINUE} == {r.decision for r in reports}


def test_a_hopeless_trial_is_stopped_and_an_infeasible_one_too():
    scheduler = LearningCurveStopping(TWO, max_step=9)
    for row in range(20):
        for step in range(1, 10):
            scheduler.decide(str(row), step, {**power_law(row, step), "size_mb": 0.5})
    hopeless = [scheduler.decide("a", step, {"f": 5.0, "g": 0.99, "size_mb": 0.5}) for step in (1, 2)]
    assert hopeless == [CONTINUE, STOP]
    broken = [scheduler.decide("b", step, {"f": 0.0, "g": 0.0, "size_mb": 5.0}) for step in (1, 2)]
    assert broken == [CONTINUE, STOP]


def test_a_state_of_another_length_is_refused():
    with pytest.raises(ValueError, match="max_step 9, this scheduler 27"):
        LearningCurveStopping(TWO, max_step=27).load(LearningCurveStopping(TWO, max_step=9).state())


@FORMS
def test_a_decision_is_fast_with_a_thousand_trials(form):
    scheduler = LearningCurveStopping(Goals.parse(["minimize f", "minimize g"]), max_step=27, form=form)
    reports = [(str(row), step, power_law(row, step)) for row in range(1100) for step in (1, 2)]
    for report in reports[:2000]:
        scheduler.decide(*report)
    start = time.process_time()
    for report in reports[2000:]:
        scheduler.decide(*report)
    # Under 1 ms on an idle machine; the bound leaves room for a busy one.
    assert (time.process_time() - start) / 200 < 5e-3
