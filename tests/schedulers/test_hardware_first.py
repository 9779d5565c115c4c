from __future__ import annotations

import pytest

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision, Promoting
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.hardware_first import HardwareFirst
from raysearch.schedulers.screening import Screening
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.testing import check_scheduler

GOALS = Goals.parse(
    ["maximize accuracy"],
    ["latency_ms/cpu <= 0.5 parent", "accuracy >= 0.9"],
    10,
    {0: {"latency_ms/cpu": 4.0}},
)


@pytest.mark.parametrize(
    "inner", [lambda goals: FullTraining(), lambda goals: SuccessiveHalving(goals, max_step=9)]
)
def test_it_keeps_the_contract(inner):
    check_scheduler(lambda goals: HardwareFirst(inner(goals), goals))


@pytest.mark.parametrize(
    ("latency", "expected"), [(2.0, Decision.CONTINUE), (2.1, Decision.STOP), (float("nan"), Decision.STOP)]
)
def test_a_broken_limit_stops_the_hardware_report(latency, expected):
    assert HardwareFirst(FullTraining(), GOALS).decide("0", 0, {"latency_ms/cpu": latency}) is expected


@pytest.mark.parametrize("given", [Decision.CONTINUE, Decision.PAUSE])
def test_what_went_on_under_another_limit_is_known_with_its_figures(given):
    goals = Goals.parse(["maximize accuracy"], ["latency_ms/cpu <= 2"], 10)
    inner = SuccessiveHalving(goals, max_step=9)
    scheduler = HardwareFirst(inner, goals)
    assert scheduler.decide("0", 0, {"latency_ms/cpu": 3.0}, given) is given
    scheduler.decide("0", 1, {"accuracy": 0.5}, Decision.CONTINUE)
    assert inner.state()["rungs"][0]["violations"] == [0.5]


def test_what_it_stopped_the_inner_scheduler_never_hears_of():
    for given in (None, Decision.STOP):
        inner = SuccessiveHalving(GOALS, max_step=9)
        for scheduler in (
            HardwareFirst(inner, GOALS),
            Screening(HardwareFirst(inner, GOALS), GOALS, candidates=2),
        ):
            assert scheduler.decide("0", 0, {"latency_ms/cpu": 9.0}, given) is Decision.STOP
            assert inner.state() == SuccessiveHalving(GOALS, max_step=9).state()


def test_limits_on_trained_metrics_stop_nothing_at_step_0():
    assert HardwareFirst(FullTraining(), GOALS).decide("0", 0, {"latency_ms/cpu": 1.0}) is Decision.CONTINUE


def test_later_steps_are_the_inner_schedulers():
    scheduler = HardwareFirst(FullTraining(), GOALS)
    assert scheduler.decide("0", 1, {"latency_ms/cpu": 9.0}) is Decision.CONTINUE


def test_its_state_is_the_inner_schedulers():
    inner = SuccessiveHalving(GOALS, max_step=9)
    scheduler = HardwareFirst(inner, GOALS)
    scheduler.decide("0", 0, {"latency_ms/cpu": 1.0})
    scheduler.decide("0", 1, {"accuracy": 0.5})
    assert scheduler.state() == inner.state()
    assert scheduler.state()["rungs"][0]["trials"] == ["0"]
    scheduler.end("0", "finished")
    assert scheduler.state()["live"] == {}


def test_it_promotes_where_the_inner_scheduler_does():
    assert not isinstance(HardwareFirst(FullTraining(), GOALS), Promoting)
    scheduler = HardwareFirst(SuccessiveHalving(GOALS, max_step=9, eta=2, form="promote"), GOALS)
    assert isinstance(scheduler, Promoting)
    figures = {"a": 0.9, "b": 0.5, "c": 0.4, "d": 0.3}
    decisions = [scheduler.decide(trial, 1, {"accuracy": figure}) for trial, figure in figures.items()]
    assert decisions == [Decision.CONTINUE, Decision.PAUSE, Decision.PAUSE, Decision.PAUSE]
    assert scheduler.promote() == "b"
    assert scheduler.promote() is None
