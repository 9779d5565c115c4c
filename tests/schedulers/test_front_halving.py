"""Pausing what will hardly end on the front, and finishing the front."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from raysearch.objectives import Goals
from raysearch.pareto import non_dominated
from raysearch.schedulers.base import Decision
from raysearch.schedulers.front_halving import FrontHalving
from raysearch.schedulers.rung import Rung
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, simulate
from raysearch.testing import check_scheduler

CONTINUE, STOP, PAUSE = Decision.CONTINUE, Decision.STOP, Decision.PAUSE
# An error that is trained, and a size that is known before.
GOALS = Goals.parse(["minimize error", "minimize size_mb"])


def at(error: float, size_mb: float) -> dict[str, float]:
    return {"error": error, "size_mb": size_mb}


def met(scheduler: FrontHalving, step: int, *values: Mapping[str, float]) -> list[Decision]:
    """What it says of trials "0", "1", ... as they reach a step in turn."""
    return [scheduler.decide(str(i), step, each) for i, each in enumerate(values)]


@pytest.mark.parametrize("options", [{}, {"margin": 0.0}, {"eta": 1.5}, {"grace": 3}, {"grace": 9}])
def test_contract(options: dict[str, float]) -> None:
    check_scheduler(lambda goals: FrontHalving(goals, max_step=9, **options))  # type: ignore[arg-type]


def test_nobody_passes_a_rung_before_eta_trials_came() -> None:
    scheduler = FrontHalving(GOALS, max_step=9, eta=3)
    assert met(scheduler, 1, at(0.3, 1), at(0.2, 1)) == [PAUSE, PAUSE]
    assert scheduler.promote() is None
    assert scheduler.decide("2", 1, at(0.5, 1)) is PAUSE
    assert scheduler.promote() == "1", "the best of three"
    assert scheduler.promote() is None


def test_between_rungs_a_trial_waits_only_if_it_is_dominated_by_the_margin() -> None:
    scheduler = FrontHalving(GOALS, max_step=11, eta=1.5, margin=1.0)
    # At step 4 the best is .1 and the median .3, then .27: with 7 of 11 steps left margins of .127 and .108.
    errors = [0.1, 0.5, 0.3, 0.3, 0.24, 0.2]
    assert met(scheduler, 4, *(at(error, 1) for error in errors))[4:] == [PAUSE, CONTINUE]
    assert scheduler.decide("small", 4, at(0.9, 0.5)) is CONTINUE, "no other is as small"


def test_what_is_known_before_training_needs_no_margin() -> None:
    scheduler = FrontHalving(GOALS, max_step=10, grace=2, eta=1.5, margin=9.0)
    met(scheduler, 5, at(0.1, 1.0), at(0.5, 1.0), at(0.5, 1.0))
    assert scheduler.decide("as large", 5, at(0.4, 1.0)) is CONTINUE
    scheduler = FrontHalving(GOALS, max_step=10, grace=2, eta=1.5, margin=0.0)
    met(scheduler, 5, at(0.1, 1.0))
    assert scheduler.decide("larger", 5, at(0.2, 1.1)) is PAUSE
    assert scheduler.decide("smaller", 5, at(0.2, 0.9)) is CONTINUE


def test_the_front_is_finished_once_no_more_trials_begin() -> None:
    scheduler = FrontHalving(GOALS, max_step=9, eta=3, margin=0.0)
    assert met(scheduler, 1, at(0.1, 2), at(0.3, 1), at(0.4, 1)) == [PAUSE, PAUSE, PAUSE]
    first = scheduler.promote()
    assert scheduler.promote() is None, "one in three"
    other = scheduler.finish()
    assert {first, other} == {"0", "1"}
    assert scheduler.finish() is None
    assert scheduler.decide("1", 2, at(0.3, 1)) is CONTINUE
    assert scheduler.decide("1", 3, at(0.3, 1)) is CONTINUE, "at a rung too"
    assert scheduler.decide("new", 1, at(0.35, 1.5)) is PAUSE, "a trial that begins after all ends that"
    assert scheduler.promote() is None


def test_where_fewer_than_eta_came_all_are_finished() -> None:
    scheduler = FrontHalving(GOALS, max_step=9, eta=4, margin=0.0)
    assert met(scheduler, 1, at(0.1, 1), at(0.3, 2), at(0.4, 3)) == [PAUSE, PAUSE, PAUSE]
    assert scheduler.promote() is None
    assert {scheduler.finish() for _ in range(4)} == {"0", "1", "2", None}


def test_what_is_infeasible_goes_on_only_while_all_are() -> None:
    goals = Goals.parse(["minimize error"], ["size_mb <= 1"])
    scheduler = FrontHalving(goals, max_step=9, grace=2, eta=1.5)
    assert met(scheduler, 5, at(0.1, 2), at(0.3, 1), at(0.1, 2)) == [CONTINUE, CONTINUE, PAUSE]


def test_what_is_nearly_feasible_goes_on() -> None:
    goals = Goals.parse(["minimize error"], ["size_mb <= 1"])
    scheduler = FrontHalving(goals, max_step=9, grace=2, eta=1.5, margin=0.7)
    met(scheduler, 5, at(0.3, 2), at(0.3, 2), at(0.3, 1))
    # Violations 1, 1, 0 and its own: the median is .575, then .6, of which .7 * 4 / 9 are allowed.
    assert scheduler.decide("near", 5, at(0.2, 1.15)) is CONTINUE
    assert scheduler.decide("far", 5, at(0.2, 1.6)) is PAUSE


def test_an_objective_that_is_no_number_stops_the_trial() -> None:
    scheduler = FrontHalving(GOALS, max_step=9)
    assert scheduler.decide("0", 1, at(math.nan, 1)) is STOP


def test_a_given_decision_and_a_given_promotion_are_taken() -> None:
    scheduler = FrontHalving(GOALS, max_step=9)
    assert scheduler.decide("0", 2, at(0.1, 1), PAUSE) is PAUSE
    assert scheduler.promote("0") == "0"
    assert scheduler.finish() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": 1}, "eta is 1: one in eta trials passes a rung"),
        ({"margin": -0.1}, "margin is -0.1: give 0 or more"),
        ({"margin": math.inf}, "margin is inf"),
        ({"grace": 10}, "grace is 10: the first rung must lie between 1 and max_step 9"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrontHalving(GOALS, max_step=9, **options)  # type: ignore[arg-type]


def test_a_state_of_other_steps_is_refused() -> None:
    state = FrontHalving(GOALS, max_step=9).state()
    with pytest.raises(ValueError, match="use the same max_step and grace"):
        FrontHalving(GOALS, max_step=8).load(state)


def power_law(row: int, step: int) -> dict[str, float]:
    """An error that falls to a floor of its own, the lower the larger the network."""
    height, rate, luck, size = np.random.default_rng(row).random(4)
    return at(0.3 * luck + 0.3 / (1 + size) + (0.3 + 0.7 * height) * step ** -(0.5 + rate), size)


@pytest.mark.parametrize("trials", [1, 2, 12, 48])
def test_nearly_all_of_the_front_is_found_at_half_the_epochs(trials: int) -> None:
    problem = Problem(lambda c, step: power_law(c["row"], step), last_step=9)
    found, spent = [], []
    for seed in range(10):
        rows = FixedList([{"row": 1000 * seed + i} for i in range(trials)])
        run = simulate(problem, rows, FrontHalving(GOALS, max_step=9, grace=3), workers=2, max_trials=trials)
        ends = np.array([list(power_law(1000 * seed + i, 9).values()) for i in range(trials)])
        front = set(np.flatnonzero(non_dominated(ends, np.zeros(trials))))
        complete = {int(entry.trial) for entry in run.reports if entry.step == 9}
        found.append(len(front & complete) / len(front))
        spent.append(len(run.reports) / (9 * trials))
    assert np.mean(found) > 0.9
    assert trials < 12 or np.mean(spent) < 0.7


def test_what_would_be_finished_is_known_with_its_steps() -> None:
    scheduler = FrontHalving(GOALS, max_step=9, grace=2, eta=3, margin=0.0)
    assert scheduler.left() == {}
    assert met(scheduler, 2, at(0.1, 2), at(0.3, 1), at(0.4, 1)) == [PAUSE, PAUSE, PAUSE]
    assert scheduler.left() == {"0": 2, "1": 2}
    while (trial := scheduler.finish()) is not None:
        assert trial in {"0", "1"}
    assert scheduler.left() == {}


def test_what_would_be_finished_is_worked_out_anew_only_where_a_trial_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    hopeful = FrontHalving._hopeful

    def counted(self: FrontHalving, rung: Rung, *rows: slice) -> NDArray[np.bool_]:
        asked.append(rung.at)
        return hopeful(self, rung, *rows)

    scheduler = FrontHalving(GOALS, max_step=9, grace=2, eta=3, margin=0.0)
    for step in (2, 5):
        for i in range(6):
            scheduler.decide(f"{step} {i}", step, at(0.1 * i, 6 - i))
    known = scheduler.left()
    assert len(known) > 3
    monkeypatch.setattr(FrontHalving, "_hopeful", counted)
    assert scheduler.left() == known
    assert scheduler.finish() in known
    assert len(scheduler.left()) == len(known) - 1
    assert not asked
    scheduler.decide("new", 2, at(9, 9))
    scheduler.left()
    assert set(asked) == {2}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_of_what_would_be_finished_is_what_a_scheduler_of_its_state_says(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def fresh() -> FrontHalving:
        return FrontHalving(GOALS, max_step=9, grace=2, eta=2)

    scheduler, running = fresh(), {}
    for i in range(300):
        draw = rng.random()
        if draw < 0.15 or not running:
            running[str(i)] = 1
        elif draw < 0.8:
            trial = str(rng.choice(list(running)))
            running[trial] += 1
            if running[trial] < 9:
                decision = scheduler.decide(trial, running[trial], at(rng.random(), rng.random()))
            if running[trial] == 9 or decision is PAUSE:
                step = running.pop(trial)
                if step == 9:
                    scheduler.end(trial, "finished")
        elif draw < 0.9:
            trial = scheduler.promote() if draw < 0.85 else scheduler.finish()
            if trial is not None:
                running[trial] = scheduler.state()["live"][trial]["step"]
        elif draw < 0.95 and scheduler.left():
            scheduler.end(next(iter(scheduler.left())), "stopped")
        elif draw < 0.97:
            scheduler.load(scheduler.state())
        again = fresh()
        again.load(scheduler.state())
        assert list(scheduler.left().items()) == list(again.left().items())
