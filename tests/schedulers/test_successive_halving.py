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
from raysearch.pareto import priority
from raysearch.schedulers.base import Decision
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.testing import check_scheduler

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP
ONE = Goals.parse(["minimize f"])
TWO = Goals.parse(["minimize f", "minimize g"], ["size_mb <= 1"])
NUMBERS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, -1.0, 1e308, -1e308, math.inf])
VALUES = st.fixed_dictionaries({"f": NUMBERS, "g": NUMBERS, "size_mb": st.sampled_from([0.5, 1.0, 2.0, 3.0])})


def rung_steps(scheduler: SuccessiveHalving) -> list[int]:
    return [rung["at"] for rung in scheduler.state()["rungs"]]


def decisions(scheduler: SuccessiveHalving, figures: Sequence[float], step: int = 1) -> list[Decision]:
    return [scheduler.decide(f"t{i}", step, {"f": f}) for i, f in enumerate(figures)]


@pytest.mark.parametrize("eta", [2, 3, 1.5])
def test_it_keeps_the_contract(eta):
    check_scheduler(lambda goals: SuccessiveHalving(goals, max_step=9, eta=eta))


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"max_step": 52}, [1, 3, 9, 27]),
        ({"max_step": 27}, [1, 3, 9]),
        ({"max_step": 9, "eta": 2, "grace": 2}, [2, 4, 8]),
        ({"max_step": 5, "eta": 1.2}, [1, 2, 3, 4]),
        ({"max_step": 1}, []),
    ],
)
def test_rungs(keywords, expected):
    assert rung_steps(SuccessiveHalving(ONE, **keywords)) == expected


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"eta": 1}, "eta is 1"),
        ({"eta": math.nan}, "eta is nan"),
        ({"grace": 0}, "grace is 0"),
        ({"grace": 10}, "grace is 10.*max_step 9"),
    ],
)
def test_bad_settings_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        SuccessiveHalving(ONE, **{"max_step": 9, **keywords})


def test_with_one_objective_it_is_the_well_known_rule():
    figures = np.random.default_rng(0).random(200).tolist()
    expected = []
    for i, figure in enumerate(figures):
        place = sorted(figures[: i + 1]).index(figure)
        expected.append(CONTINUE if place < max(1, (i + 1) // 3) else STOP)
    assert decisions(SuccessiveHalving(ONE, max_step=9), figures) == expected


@given(st.lists(VALUES, min_size=1, max_size=40), st.sampled_from([1.5, 2, 3, 4]))
def test_a_trial_passes_exactly_if_it_is_among_the_first_by_priority(population, eta):
    scheduler = SuccessiveHalving(TWO, max_step=9, eta=eta)
    costs = np.array([TWO.costs(values) for values in population])
    violations = np.array([TWO.violation(values, 1) for values in population])
    for i, values in enumerate(population):
        first = priority(costs[: i + 1], violations[: i + 1])[: max(1, int((i + 1) // eta))]
        assert (scheduler.decide(f"t{i}", 1, values) is CONTINUE) == (i in first)


@given(st.lists(VALUES, max_size=40), st.integers(1, 9))
def test_a_newcomer_that_dominates_all_is_never_stopped(population, step):
    scheduler = SuccessiveHalving(TWO, max_step=9)
    for i, values in enumerate(population):
        scheduler.decide(f"t{i}", step, values)
    best = {"f": -math.inf, "g": -math.inf, "size_mb": 0.1}
    assert scheduler.decide("best", step, best) is CONTINUE


@given(st.lists(VALUES, min_size=3, max_size=40))
def test_a_newcomer_dominated_by_one_in_eta_is_stopped(population):
    scheduler = SuccessiveHalving(TWO, max_step=9)
    for i, values in enumerate(population):
        scheduler.decide(f"t{i}", 1, values)
    assert scheduler.decide("worst", 1, {"f": math.inf, "g": math.inf, "size_mb": 9.0}) is STOP


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 10), VALUES), max_size=60), st.integers(0, 60))
def test_state_and_load_change_no_later_decision(reports, cut):
    one, two = SuccessiveHalving(TWO, max_step=9), SuccessiveHalving(TWO, max_step=9)
    for trial, step, values in reports[:cut]:
        one.decide(str(trial), step, values)
    two.load(json.loads(json.dumps(one.state())))
    for trial, step, values in reports[cut:]:
        assert one.decide(str(trial), step, values) is two.decide(str(trial), step, values)
    assert json.dumps(one.state()) == json.dumps(two.state())


def test_a_state_of_other_rungs_is_refused():
    with pytest.raises(ValueError, match=r"rungs at \[1, 3\], this scheduler at \[1, 3, 9\]"):
        SuccessiveHalving(ONE, max_step=27).load(SuccessiveHalving(ONE, max_step=9).state())


def test_feasible_trials_pass_before_infeasible_ones():
    scheduler = SuccessiveHalving(TWO, max_step=9)
    assert scheduler.decide("broken", 1, {"f": 0.0, "g": 0.0, "size_mb": 5.0}) is CONTINUE  # alone
    assert scheduler.decide("kept", 1, {"f": 9.0, "g": 9.0, "size_mb": 0.9}) is CONTINUE
    assert scheduler.decide("less broken", 1, {"f": -9.0, "g": -9.0, "size_mb": 1.1}) is STOP


def test_a_rung_reads_the_latest_value_of_each_metric():
    scheduler = SuccessiveHalving(TWO, max_step=9)
    scheduler.decide("a", 0, {"g": 1.0, "size_mb": 0.5})
    scheduler.decide("a", 1, {"f": 2.0})
    (first, _) = scheduler.state()["rungs"]
    assert first["costs"] == [[2.0, 1.0]]


def test_a_skipped_rung_is_met_at_the_highest_reached():
    scheduler = SuccessiveHalving(ONE, max_step=27)
    scheduler.decide("a", 5, {"f": 1.0})
    assert [rung["trials"] for rung in scheduler.state()["rungs"]] == [[], ["a"], []]


def test_a_step_between_rungs_changes_nothing():
    scheduler = SuccessiveHalving(ONE, max_step=27)
    decisions(scheduler, [1.0, 0.5], step=3)
    before = scheduler.state()["rungs"]
    assert scheduler.decide("t0", 4, {"f": 99.0}) is CONTINUE
    assert scheduler.state()["rungs"] == before


def test_a_repeated_step_changes_nothing():
    scheduler = SuccessiveHalving(ONE, max_step=27)
    decisions(scheduler, [1.0, 0.5, 2.0], step=3)
    before = json.dumps(scheduler.state())
    assert scheduler.decide("t1", 3, {"f": 99.0}) is CONTINUE
    assert scheduler.decide("t1", 1, {"f": 99.0}) is CONTINUE
    assert json.dumps(scheduler.state()) == before


def test_a_trial_that_ended_is_not_counted_twice():
    scheduler = SuccessiveHalving(ONE, max_step=9)
    decisions(scheduler, [1.0, 0.5])
    scheduler.end("t0", "failed")
    assert scheduler.decide("t0", 1, {"f": 9.0}) is CONTINUE
    assert scheduler.state()["rungs"][0]["trials"] == ["t0", "t1"]


@pytest.mark.parametrize("step", [0, 10, 11])
def test_outside_the_epochs_nothing_is_stopped(step):
    scheduler = SuccessiveHalving(ONE, max_step=9)
    assert set(decisions(scheduler, [1.0, 2.0, 3.0, math.nan], step)) == {CONTINUE}


def test_nan_is_stopped_and_not_compared():
    scheduler = SuccessiveHalving(ONE, max_step=9)
    assert decisions(scheduler, [math.nan, 1.0]) == [STOP, CONTINUE]
    assert scheduler.state()["rungs"][0]["trials"] == ["t1"]


def test_an_objective_that_nobody_reports_yet_stops_nobody():
    scheduler = SuccessiveHalving(TWO, max_step=9)
    assert [scheduler.decide(str(i), 1, {"f": float(-i)}) for i in range(5)] == [CONTINUE] * 5
    assert scheduler.decide("silent", 1, {}) is CONTINUE


def test_of_equal_trials_one_in_eta_passes():
    passed = decisions(SuccessiveHalving(ONE, max_step=9), [1.0] * 30)
    assert passed[0] is CONTINUE
    assert STOP in passed


@settings(max_examples=20)
@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=20, max_size=40), st.randoms())
def test_the_last_decision_does_not_depend_on_the_order_before(population, random):
    goals = Goals.parse(["minimize f", "minimize g"])
    *others, last = [{"f": f, "g": g} for f, g in population]
    if last in others:
        return
    outcomes = set()
    for _ in range(3):
        random.shuffle(others)
        scheduler = SuccessiveHalving(goals, max_step=9)
        for i, values in enumerate(others):
            scheduler.decide(str(i), 1, values)
        outcomes.add(scheduler.decide("last", 1, last))
    assert len(outcomes) == 1


@pytest.mark.parametrize("front", [False, True])
def test_a_decision_is_fast_with_a_thousand_trials_in_a_rung(front):
    scheduler = SuccessiveHalving(TWO, max_step=9)
    points = np.random.default_rng(0).random((1100, 2))
    if front:  # the worst case: all trials on one front, which has to be put in order
        points[:, 1] = 1 - points[:, 0]
    told = [(str(i), 1, {"f": f, "g": g}) for i, (f, g) in enumerate(points.tolist())]
    for report in told[:1000]:
        scheduler.decide(*report)
    # Under 1 ms on an idle machine; the bound leaves room for a busy one.
    assert cpu_seconds(lambda: [scheduler.decide(*report) for report in told[1000:]]) / 100 < 5e-3


def promoting(**keywords) -> SuccessiveHalving:
    return SuccessiveHalving(TWO, **{"max_step": 9, "form": "promote", **keywords})


def promoted(scheduler: SuccessiveHalving) -> list[str]:
    """All trials that may go on now."""
    return list(iter(scheduler.promote, None))


@pytest.mark.parametrize("order", ["epsilon_net", "hypervolume"])
def test_the_pausing_form_keeps_the_contract(order):
    check_scheduler(lambda g: SuccessiveHalving(g, max_step=9, form="promote", brackets=2, order=order))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"form": "wait"}, "form is 'wait'.*'promote'"),
        ({"brackets": 0}, "brackets is 0"),
        ({"brackets": 4}, "brackets is 4.*1 to 3"),
        ({"order": "luck"}, "order is 'luck'"),
        ({"grace": 0, "resource": "seconds"}, "grace is 0"),
    ],
)
def test_bad_forms_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        SuccessiveHalving(ONE, **{"max_step": 9, **keywords})


def test_a_paused_trial_goes_on_once_it_belongs_to_the_best():
    scheduler = SuccessiveHalving(ONE, max_step=9, form="promote")
    assert decisions(scheduler, [1.0, 2.0, 4.0, 5.0, 3.0]) == [CONTINUE] + [Decision.PAUSE] * 4
    assert promoted(scheduler) == []
    assert decisions(scheduler, [9.0] * 5 + [6.0])[-1] is Decision.PAUSE  # the sixth; the others repeat
    assert promoted(scheduler) == ["t1"]
    assert promoted(scheduler) == []


def test_the_highest_rung_comes_first_and_the_best_of_it():
    scheduler = SuccessiveHalving(ONE, max_step=27, eta=2, form="promote")
    for step in (1, 4):
        for i in range(3):
            scheduler.decide(f"{step}-{i}", step, {"f": float(i)})
    for step in (1, 4):
        for i in range(3, 8):
            scheduler.decide(f"{step}-{i}", step, {"f": 99.0 + i})
    assert promoted(scheduler) == ["4-1", "4-2", "4-3", "1-1", "1-2", "1-3"]


def test_a_trial_that_ended_or_went_on_is_not_promoted():
    scheduler = SuccessiveHalving(ONE, max_step=27, form="promote")
    decisions(scheduler, [float(i) for i in range(12)])
    scheduler.end("t1", "failed")
    scheduler.decide("t2", 2, {"f": 0.0})
    assert promoted(scheduler) == ["t3"]


@given(st.lists(VALUES, min_size=1, max_size=40), st.sampled_from([1.5, 2, 3]))
def test_all_of_the_best_go_on_in_the_end(population, eta):
    scheduler = promoting(eta=eta)
    on = {str(i) for i, v in enumerate(population) if scheduler.decide(str(i), 1, v) is CONTINUE}
    on |= set(promoted(scheduler))
    costs = np.array([TWO.costs(values) for values in population])
    violations = np.array([TWO.violation(values, 1) for values in population])
    best = priority(costs, violations)[: max(1, int(len(population) // eta))]
    assert {str(i) for i in best.tolist()} <= on


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(-1, 10), VALUES), max_size=60), st.integers(0, 60))
def test_state_and_load_change_no_later_promotion(reports, cut):
    def go(scheduler, entries):
        return [
            scheduler.decide(str(trial), step, values) if step >= 0 else scheduler.promote()
            for trial, step, values in entries
        ]

    one, two = promoting(brackets=2), promoting(brackets=2)
    go(one, reports[:cut])
    two.load(json.loads(json.dumps(one.state())))
    assert go(one, reports[cut:]) == go(two, reports[cut:])
    assert promoted(one) == promoted(two)
    assert json.dumps(one.state()) == json.dumps(two.state())


def test_brackets_get_trials_in_hyperbands_proportions():
    scheduler = SuccessiveHalving(ONE, max_step=27, brackets=4)
    assert rung_steps(scheduler) == [1, 3, 9, 3, 9, 9]
    decisions(scheduler, [1.0] * 100)
    weights = np.array([27 / 4, 9 / 3, 3 / 2, 1])
    assert np.abs(np.array(scheduler.state()["dealt"]) - 100 * weights / weights.sum()).max() < 1


def test_trials_of_different_brackets_are_not_compared():
    scheduler = SuccessiveHalving(ONE, max_step=9, brackets=2)
    assert decisions(scheduler, [1.0, 2.0], step=3) == [CONTINUE, CONTINUE]


def test_rungs_stand_at_values_of_any_metric():
    scheduler = SuccessiveHalving(ONE, max_step=2.0, grace=0.5, eta=2, resource="seconds")
    assert rung_steps(scheduler) == [0.5, 1.0]
    for trial, f in (("a", 1.0), ("b", 2.0)):
        assert scheduler.decide(trial, 1, {"f": f, "seconds": 0.4}) is CONTINUE
    assert scheduler.decide("a", 2, {"f": 1.0, "seconds": 0.7}) is CONTINUE
    assert scheduler.decide("b", 2, {"f": 2.0, "seconds": 0.6}) is STOP
    assert scheduler.decide("c", 9, {"f": 9.0}) is CONTINUE  # an exported model's costs none of it
    assert scheduler.decide("d", 9, {"f": 9.0, "seconds": 2.1}) is CONTINUE
    assert scheduler.decide("e", 9, {"f": 9.0, "seconds": math.nan}) is CONTINUE
