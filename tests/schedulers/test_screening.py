"""Candidates wait after step 0, and one of several trains."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision
from raysearch.schedulers.front_halving import FrontHalving
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.hardware_first import HardwareFirst
from raysearch.schedulers.screening import Screening
from raysearch.searchers.random import RandomSearch
from raysearch.searchers.tune import parameters_of
from raysearch.simulation import Problem, simulate
from raysearch.testing import check_scheduler

GOALS = Goals.parse(["maximize accuracy", "minimize size_mb"], last_step=4)


def step0(accuracy: float, size: float = 1.0) -> dict[str, float]:
    return {"accuracy": accuracy, "size_mb": size}


def test_one_in_four_trains_the_best_of_those_that_wait() -> None:
    screen = Screening(FullTraining(), GOALS, candidates=4)
    for i, accuracy in enumerate([0.3, 0.5, 0.4]):
        assert screen.decide(str(i), 0, step0(accuracy)) is Decision.PAUSE
        assert screen.promote() is None
    screen.decide("3", 0, step0(0.2))
    assert screen.promote() == "1"
    assert screen.promote() is None
    assert screen.decide("1", 1, {"accuracy": 0.6}) is Decision.CONTINUE
    for i in range(4, 8):
        screen.decide(str(i), 0, step0(0.1))
    assert screen.promote() == "2"  # of those that waited from the first four


def test_what_is_exempt_trains_at_once_and_is_no_candidate() -> None:
    screen = Screening(FullTraining(), GOALS, candidates=2, exempt=lambda trial: trial == "given")
    assert screen.decide("given", 0, step0(0.1)) is Decision.CONTINUE
    assert screen.decide("0", 0, step0(0.5)) is Decision.PAUSE
    assert screen.promote() is None


def test_a_repeated_step_counts_once() -> None:
    screen = Screening(FullTraining(), GOALS, candidates=2, trials=2, exempt=lambda trial: trial == "given")
    for _ in range(2):
        screen.decide("given", 0, step0(0.1))
    screen.decide("0", 0, step0(0.5))
    assert screen.finish() == "0"


def test_where_the_space_is_used_up_all_candidates_train() -> None:
    screen = Screening(FrontHalving(GOALS, max_step=3), GOALS, candidates=4)
    for i in range(3):
        assert screen.decide(str(i), 0, step0(0.1 * i)) is Decision.PAUSE
    assert [screen.finish() for _ in range(4)] == ["2", "1", "0", None]


def test_a_candidate_that_breaks_a_limit_stops_and_counts() -> None:
    goals = Goals.parse(["maximize accuracy", "minimize size_mb"], ["size_mb <= 2"], last_step=4)
    screen = Screening(HardwareFirst(FullTraining(), goals), goals, candidates=2)
    assert screen.decide("large", 0, step0(0.9, 3.0)) is Decision.STOP
    screen.end("large", "stopped")
    assert screen.decide("small", 0, step0(0.5)) is Decision.PAUSE
    assert screen.promote() == "small"


def test_a_searcher_may_choose() -> None:
    asked: list[list[str]] = []

    def choose(trials: Sequence[str]) -> str | None:
        asked.append(list(trials))
        return trials[-1] if len(asked) > 1 else None

    screen = Screening(FullTraining(), GOALS, candidates=2, choose=choose)
    for i, accuracy in enumerate([0.9, 0.5, 0.4, 0.3]):
        screen.decide(str(i), 0, step0(accuracy))
    assert [screen.promote(), screen.promote(), screen.promote()] == ["0", "3", None]
    assert asked == [["0", "1", "2", "3"], ["1", "2", "3"]]


def test_unknown_figures_come_last() -> None:
    screen = Screening(FullTraining(), GOALS, candidates=2)
    screen.decide("unknown", 0, {"size_mb": 1.0})
    screen.decide("known", 0, step0(0.2))
    assert screen.promote() == "known"


def test_where_no_more_come_those_that_may_still_train_are_finished() -> None:
    screen = Screening(FullTraining(), GOALS, candidates=4, trials=2)
    for i, accuracy in enumerate([0.3, 0.5, 0.4]):
        screen.decide(str(i), 0, step0(accuracy))
    assert screen.left() == {}
    assert [screen.finish(), screen.finish(), screen.finish()] == ["1", "2", None]


def test_what_a_journal_recorded_is_taken_as_it_was() -> None:
    screen = Screening(FullTraining(), GOALS, candidates=4)
    assert screen.decide("0", 0, step0(0.1), Decision.PAUSE) is Decision.PAUSE
    assert screen.decide("1", 0, step0(0.2), Decision.CONTINUE) is Decision.CONTINUE
    assert screen.promote("0") == "0"
    assert screen.decide("0", 1, {"accuracy": 0.5}, Decision.STOP) is Decision.STOP


def test_what_a_journal_recorded_as_stopped_trains_not() -> None:
    screen = Screening(FullTraining(), GOALS, candidates=2, trials=1, exempt=lambda trial: trial == "given")
    screen.decide("given", 0, step0(0.1, 9.0), Decision.STOP)
    screen.end("given", "stopped")
    screen.decide("0", 0, step0(0.3))
    assert screen.finish() == "0"


@pytest.mark.parametrize("inner", [FullTraining(), FrontHalving(GOALS, max_step=3)])
def test_of_48_candidates_12_train(inner: FullTraining | FrontHalving) -> None:
    from ray import tune

    def values(config: dict[str, float], step: int) -> dict[str, float]:
        return {"accuracy": config["x"] * (1 - 0.5 ** (step + 1)), "size_mb": config["x"] + config["y"]}

    screen = Screening(inner, GOALS, candidates=4, trials=12)
    parameters = parameters_of({"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)})
    problem = Problem(values, 4, first_step=0)
    run = simulate(problem, RandomSearch(parameters, GOALS), screen, workers=3, max_trials=48)
    assert len(run.configs) == 48
    assert len({r.trial for r in run.reports if r.step > 0}) == 12
    trained = [run.configs[r.trial]["y"] for r in run.reports if r.step == 1]
    assert sum(trained) / 12 < 0.4  # those that are no larger than they must be


@pytest.mark.parametrize("candidates", [1, 4])
def test_contract(candidates: int) -> None:
    check_scheduler(lambda goals: Screening(FrontHalving(goals, max_step=9), goals, candidates=candidates))
