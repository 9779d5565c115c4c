from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, simulate
from raysearch.simulation.faults import Faults, Mishap

TABLE = Problem(lambda config, step: {"error": config["row"] + 1 / (1 + step)}, last_step=4)


def rows(n):
    return FixedList([{"row": i} for i in range(n)])


def steps(run, trial):
    return [report.step for report in run.reports if report.trial == trial]


class Chosen(Faults):
    """Faults at chosen (trial, step, attempt)s."""

    def of(self, trial, step, attempt):
        return {"crash": Mishap(crashed=True), "late": Mishap(delay=self.delay)}.get(
            CHOSEN.get((trial, step, attempt)), Mishap()
        )


CHOSEN: dict = {}


@pytest.fixture
def chosen():
    CHOSEN.clear()
    yield CHOSEN
    CHOSEN.clear()


class StopAt(FullTraining):
    def __init__(self, step, decision=Decision.STOP):
        self.step, self.decision, self.paused = step, decision, []

    def decide(self, trial, step, values):
        if step != self.step:
            return Decision.CONTINUE
        self.paused.append(trial)
        self.step = None
        return self.decision


class PauseAt(StopAt):
    def promote(self):
        return self.paused.pop() if self.paused else None


def test_a_crash_costs_the_step_and_the_trial_goes_on_from_its_checkpoint(chosen):
    chosen[0, 3, 2] = "crash"
    run = simulate(TABLE, rows(1), FullTraining(), max_trials=1, faults=Chosen())
    assert steps(run, "0000") == [1, 2, 3, 4]
    assert [r.spent for r in run.reports] == [1, 2, 4, 5]
    assert run.crashes == {"0000": 1}
    assert run.outcomes == {"0000": "finished"}


def test_steps_since_the_last_checkpoint_are_reported_again(chosen):
    chosen[0, 4, 3] = "crash"
    run = simulate(TABLE, rows(1), FullTraining(), max_trials=1, faults=Chosen(checkpoint_every=2))
    assert steps(run, "0000") == [1, 2, 3, 3, 4]
    run = simulate(TABLE, rows(1), FullTraining(), max_trials=1, faults=Chosen(checkpoint_every=9))
    assert steps(run, "0000") == [1, 2, 3, 1, 2, 3, 4]
    assert run.spent == 8


def test_who_crashes_too_often_fails_and_frees_the_worker():
    run = simulate(TABLE, rows(2), FullTraining(), max_trials=2, faults=Faults(crash_rate=1, max_crashes=2))
    assert run.outcomes == {"0000": "failed", "0001": "failed"}
    assert run.crashes == {"0000": 3, "0001": 3}
    assert run.reports == []


def test_a_late_report_lets_the_trial_go_on_and_the_rest_waits_its_turn(chosen):
    chosen[0, 1, 0] = "late"
    run = simulate(TABLE, rows(1), FullTraining(), max_trials=1, faults=Chosen(delay=1.5))
    assert [(r.time, r.step) for r in run.reports] == [(2.5, 1), (2.5, 2), (3, 3), (4, 4)]


def test_a_late_stop_throws_the_step_under_way_away(chosen):
    chosen[0, 1, 0] = "late"
    run = simulate(TABLE, rows(2), StopAt(1), max_trials=2, faults=Chosen(delay=1.5))
    assert [(r.time, r.trial, r.step) for r in run.reports[:2]] == [(2.5, "0000", 1), (3.5, "0001", 1)]
    assert run.outcomes == {"0000": "stopped", "0001": "finished"}
    assert run.reports[1].spent == 3.5  # two whole steps and half of one, then the other trial's first


def test_a_late_pause_goes_on_behind_the_step_it_was_decided_on(chosen):
    chosen[0, 1, 0] = "late"
    run = simulate(TABLE, rows(1), PauseAt(1, Decision.PAUSE), max_trials=1, faults=Chosen(delay=1.5))
    assert [(r.time, r.step) for r in run.reports] == [(2.5, 1), (3.5, 2), (4.5, 3), (5.5, 4)]


def test_stragglers_take_longer_and_cost_the_same():
    slow = Faults(straggler_rate=1, straggler_factor=5)
    run = simulate(TABLE, rows(300), FullTraining(), workers=300, max_trials=300, faults=slow)
    assert run.spent == 1200
    lasts = [r.time for r in run.reports if r.step == 1]
    assert np.mean(lasts) == pytest.approx(5, rel=0.2)
    assert min(lasts) >= 1


def test_rates_are_kept():
    mishaps = [Faults(crash_rate=0.1, straggler_rate=0.2, late_rate=0.3).of(i, 1, 0) for i in range(4000)]
    assert np.mean([m.crashed for m in mishaps]) == pytest.approx(0.1, abs=0.02)
    assert np.mean([m.slowdown > 1 for m in mishaps]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([m.delay > 0 for m in mishaps]) == pytest.approx(0.3, abs=0.03)


def test_no_faults_change_nothing():
    def once(faults):
        scheduler = SuccessiveHalving(Goals.parse(["minimize error"]), max_step=4)
        return simulate(TABLE, rows(30), scheduler, workers=4, max_trials=30, faults=faults)

    assert once(None) == once(Faults())


@given(st.integers(0, 99), st.integers(1, 9), st.floats(0, 0.5), st.floats(0, 1), st.floats(0, 9))
def test_every_trial_ends_once_and_reports_in_order(seed, workers, crash_rate, late_rate, delay):
    faults = Faults(
        crash_rate=crash_rate,
        late_rate=late_rate,
        delay=delay,
        straggler_rate=0.3,
        checkpoint_every=2,
        seed=seed,
    )

    def once():
        scheduler = SuccessiveHalving(Goals.parse(["minimize error"]), max_step=4)
        return simulate(TABLE, rows(12), scheduler, workers=workers, max_trials=12, faults=faults)

    run = once()
    assert run == once()
    assert set(run.outcomes) == set(run.configs)
    assert [r.time for r in run.reports] == sorted(r.time for r in run.reports)
    assert [r.spent for r in run.reports] == sorted(r.spent for r in run.reports)
    for trial, outcome in run.outcomes.items():
        reported = steps(run, trial)
        first_time = list(dict.fromkeys(reported))
        assert first_time == sorted(first_time)
        assert (outcome == "finished") == (4 in reported)
        assert run.crashes.get(trial, 0) <= 4


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"crash_rate": 1.1}, "crash_rate is 1.1: it is a share"),
        ({"late_rate": float("nan")}, "late_rate is nan"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0: give a finite number, at least 1"),
        ({"straggler_factor": 0.5}, "straggler_factor is 0.5"),
        ({"delay": -1}, "delay is -1"),
    ],
)
def test_bad_faults_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        Faults(**keywords)
