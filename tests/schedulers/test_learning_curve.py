from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cpu_time import cpu_seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.learning_curve import LearningCurveStopping
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, simulate
from raysearch.testing import Toy, check_scheduler, merit

CONTINUE, STOP, PAUSE = Decision.CONTINUE, Decision.STOP, Decision.PAUSE
TWO = Goals.parse(["minimize f", "minimize g"], ["size_mb <= 1"])
FORMS = pytest.mark.parametrize("form", ["stop", "promote"])
FINITE = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, -1.0, 1e308])
NUMBERS = FINITE | st.sampled_from([-1e308, math.inf, -math.inf, math.nan])
STEPS = st.integers(0, 10)


def reports(numbers):
    metrics = {"f": numbers, "g": numbers, "size_mb": st.sampled_from([0.5, 1.0, 2.0])}
    return st.lists(
        st.tuples(st.integers(0, 7), STEPS, st.fixed_dictionaries({}, optional=metrics)), max_size=40
    )


def power_law(row: int, step: int) -> dict[str, float]:
    """An error that falls to a floor of its own, and a size."""
    floor, height, rate, size = np.random.default_rng(row).random(4)
    return {"f": floor / 2 + (0.3 + 0.7 * height) * step ** -(0.3 + rate), "g": size}


def exponential(row: int, step: int) -> dict[str, float]:
    """Curves that start together and cross: the floor says nothing about the pace."""
    floor, pace, size = np.random.default_rng(row).random(3)
    return {"f": floor + (1 - floor) * math.exp(-step * (0.05 + 0.2 * pace)), "g": size}


def noisy(row: int, step: int) -> dict[str, float]:
    """Power laws with noise that is new at each step."""
    found = power_law(row, step)
    return {**found, "f": found["f"] + 0.03 * np.random.default_rng((row, step)).standard_normal()}


def late(row: int, step: int) -> dict[str, float]:
    """A plateau at 1, then a fall within a few epochs."""
    floor, start, size = np.random.default_rng(row).random(3)
    return {"f": floor + (1 - floor) / (1 + math.exp(step - 1 - 9 * start)), "g": size}


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
        ({"eta": 1}, "eta is 1"),
        ({"form": "luck"}, "form is 'luck'"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"threshold": -0.1}, "threshold is -0.1"),
    ],
)
def test_bad_settings_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        LearningCurveStopping(TWO, **{"max_step": 9, **keywords})


@settings(max_examples=40)
@given(reports(FINITE), st.integers(1, 9))
def test_a_newcomer_that_dominates_all_goes_on(told, step):
    scheduler = LearningCurveStopping(TWO, max_step=9)
    for trial, at, values in told:
        scheduler.decide(str(trial), at, values)
    best = {"f": -1e308, "g": -1e308, "size_mb": 0.1}
    assert scheduler.decide("best", step, best) is CONTINUE


@settings(max_examples=40)
@given(reports(NUMBERS), st.integers(0, 40), st.sampled_from(["stop", "promote"]))
def test_state_and_load_change_no_later_decision(told, cut, form):
    one, two = (LearningCurveStopping(TWO, max_step=9, form=form) for _ in range(2))
    for trial, step, values in told[:cut]:
        one.decide(str(trial), step, values)
    two.load(json.loads(json.dumps(one.state())))
    for trial, step, values in told[cut:]:
        assert one.decide(str(trial), step, values) is two.decide(str(trial), step, values)
        assert one.promote() == two.promote()
    assert json.dumps(one.state()) == json.dumps(two.state())


@settings(max_examples=40)
@given(reports(NUMBERS))
def test_what_halving_stops_it_stops(told):
    ours, halving = LearningCurveStopping(TWO, max_step=9), SuccessiveHalving(TWO, max_step=9)
    for trial, step, values in told:
        decision = halving.decide(str(trial), step, values)
        assert ours.decide(str(trial), step, values) in (decision, STOP)


@FORMS
def test_the_unit_of_an_objective_changes_nothing(form):
    goals = Goals.parse(["minimize f", "minimize g"])
    plain = run(LearningCurveStopping(goals, max_step=27, form=form))
    assert set(plain) == {CONTINUE, STOP} | ({PAUSE} if form == "promote" else set())
    # A power of two: nothing is rounded.
    assert run(LearningCurveStopping(goals, max_step=27, form=form), 1024.0) == plain


def test_accuracy_is_judged_as_error_is():
    up = Goals.parse(["maximize f", "minimize g"])
    down = Goals.parse(["minimize f", "minimize g"])
    assert run(LearningCurveStopping(up, max_step=27), -1.0) == run(LearningCurveStopping(down, max_step=27))


@pytest.mark.parametrize(("best", "decision"), [(0.46, CONTINUE), (0.45, STOP)])
def test_it_draws_the_line_to_the_last_step(best, decision):
    scheduler = LearningCurveStopping(Goals.parse(["minimize f"]), max_step=81, grace=9, threshold=0)
    for step, f in ((9, 0.9), (27, 0.7)):
        assert scheduler.decide("a", step, {"f": f}) is CONTINUE
    scheduler.decide("b", 9, {"f": best})
    # From 9 to 40 it falls by 0.3; from 40 to 81, 0.473 times as far in logarithms, by 0.142 at most.
    assert scheduler.decide("a", 40, {"f": 0.6}) is decision


def test_what_cannot_improve_is_stopped_between_the_rungs():
    scheduler = LearningCurveStopping(TWO, max_step=81)
    for trial, f in (("flat", lambda step: 0.2), ("falling", lambda step: 1.5 / step)):
        decisions = [scheduler.decide(trial, s, {"f": f(s), "g": 0.2, "size_mb": 0.5}) for s in (8, 9, 11)]
        assert decisions == [CONTINUE] * 3
    scheduler.decide("best", 81, {"f": 0.1, "g": 0.1, "size_mb": 0.5})
    assert scheduler.decide("flat", 12, {"f": 0.2}) is STOP
    assert scheduler.decide("falling", 12, {"f": 0.125}) is CONTINUE


def test_until_as_much_was_seen_as_lies_ahead_halving_decides_alone():
    scheduler = LearningCurveStopping(Goals.parse(["minimize f"]), max_step=81)
    scheduler.decide("best", 81, {"f": 0.1})  # it met only the last rung
    assert [scheduler.decide("a", step, {"f": 0.2}) for step in (1, 2, 3, 8)] == [CONTINUE] * 4
    assert scheduler.decide("a", 9, {"f": 0.2}) is STOP


def test_an_infeasible_trial_is_no_rival():
    scheduler = LearningCurveStopping(TWO, max_step=81)
    for step in (8, 9, 11):
        scheduler.decide("a", step, {"f": 0.2, "g": 0.2, "size_mb": 0.5})
    scheduler.decide("too large", 81, {"f": 0.1, "g": 0.1, "size_mb": 5.0})
    assert scheduler.decide("a", 12, {"f": 0.2}) is CONTINUE


def test_a_common_plateau_is_left_to_halving():
    scheduler = LearningCurveStopping(Goals.parse(["minimize f"]), max_step=81)
    for trial in "abc":
        assert [scheduler.decide(trial, step, {"f": 1.0}) for step in (10, 11, 12)][1:] == [CONTINUE] * 2


def test_a_state_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"rungs at \[1, 3\]"):
        LearningCurveStopping(TWO, max_step=27).load(LearningCurveStopping(TWO, max_step=9).state())


@FORMS
def test_a_decision_is_fast_with_a_thousand_trials(form):
    scheduler = LearningCurveStopping(Goals.parse(["minimize f", "minimize g"]), max_step=27, form=form)
    told = [(str(row), step, power_law(row, step)) for row in range(1100) for step in (1, 6)]
    for report in told[:2000]:
        scheduler.decide(*report)
    # About 0.2 ms on an idle machine; the bound leaves room for a busy one.
    assert cpu_seconds(lambda: [scheduler.decide(*report) for report in told[2000:]]) / 200 < 2e-3


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("curve", [power_law, exponential, noisy, late])
def test_at_equal_cost_it_is_above_full_training_and_not_far_below_halving(curve, objectives):
    goals = Goals.parse(["minimize f", "minimize g"][:objectives])
    problem = Problem(lambda config, step: curve(config["row"], step), 27)
    toy = Toy((), goals, problem, (1.1,) * objectives)
    found = {"ours": 0.0, "halving": 0.0, "full": 0.0}
    for seed in range(5):
        for name, scheduler in (
            ("ours", LearningCurveStopping(goals, max_step=27)),
            ("halving", SuccessiveHalving(goals, max_step=27)),
            ("full", FullTraining()),
        ):
            rows = FixedList([{"row": 1000 * seed + row} for row in range(200)])
            found[name] += merit(toy, simulate(problem, rows, scheduler, workers=4, max_cost=270)) / 5
        del rows
    assert found["ours"] >= found["full"]
    assert found["ours"] >= found["halving"] - 0.02
