from __future__ import annotations

import pytest

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision
from raysearch.schedulers.front_halving import FrontHalving
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.fixed import FixedList
from raysearch.searchers.nsga2 import NSGA2
from raysearch.simulation import Problem, simulate

GOALS = Goals.parse(["minimize error", "minimize size"])
SPACE = [Parameter(("size",), "float", 0.1, 1.0), Parameter(("rate",), "float", 0.0, 1.0)]


def rows(n):
    return FixedList([{"row": i} for i in range(n)])


def learning(config, step):
    return {"error": 1 / (1 + config["size"] * step) + abs(config["rate"] - 0.3), "size": config["size"]}


TABLE = Problem(lambda config, step: {"error": config["row"] + 1 / (1 + step)}, last_step=3)


def test_workers_run_side_by_side_and_take_the_next_trial_when_they_are_free():
    run = simulate(TABLE, rows(4), FullTraining(), workers=2, max_trials=3)
    assert [(r.time, r.trial, r.step) for r in run.reports] == [
        (1, "0000", 1),
        (1, "0001", 1),
        (2, "0000", 2),
        (2, "0001", 2),
        (3, "0000", 3),
        (3, "0001", 3),
        (4, "0002", 1),
        (5, "0002", 2),
        (6, "0002", 3),
    ]
    assert run.outcomes == dict.fromkeys(("0000", "0001", "0002"), "finished")
    assert run.configs["0002"] == {"row": 2}
    assert run.spent == 9


def test_slow_steps_arrive_late():
    slow_first = Problem(TABLE.values, 2, cost=lambda config, step: 5.0 if config["row"] == 0 else 1.0)
    run = simulate(slow_first, rows(3), FullTraining(), workers=2, max_trials=3)
    assert [(r.time, r.trial) for r in run.reports] == [
        (1, "0001"),
        (2, "0001"),
        (3, "0002"),
        (4, "0002"),
        (5, "0000"),
        (10, "0000"),
    ]
    assert [r.spent for r in run.reports] == [1, 2, 3, 4, 9, 14]


def test_the_cost_ends_it():
    run = simulate(TABLE, rows(9), FullTraining(), workers=2, max_cost=7)
    assert len(run.reports) == 7
    assert run.spent == 7
    assert set(run.configs) - set(run.outcomes) == {"0002", "0003"}


def test_it_ends_when_the_searcher_has_no_more():
    assert len(simulate(TABLE, rows(2), FullTraining(), workers=5, max_trials=99).reports) == 6


def test_a_hardware_report_may_come_first():
    run = simulate(Problem(TABLE.values, 1, first_step=0), rows(1), FullTraining(), max_trials=1)
    assert [r.step for r in run.reports] == [0, 1]


def test_stopped_trials_free_their_worker():
    scheduler = SuccessiveHalving(Goals.parse(["minimize error"]), max_step=3)
    run = simulate(TABLE, rows(5), scheduler, workers=1, max_trials=5)
    assert list(run.outcomes.values()) == ["finished", "stopped", "stopped", "stopped", "stopped"]
    assert run.reports[3].decision is Decision.STOP
    assert len(run.reports) == 7


class PauseOnce(FullTraining):
    """Pauses every trial after its first step; lets them go on, the last one first, when two wait."""

    def __init__(self):
        self.waiting = []

    def decide(self, trial, step, values):
        if step > 1:
            return Decision.CONTINUE
        self.waiting.append(trial)
        return Decision.PAUSE

    def promote(self):
        return self.waiting.pop() if len(self.waiting) >= 2 else None


def test_paused_trials_go_on_when_they_are_promoted():
    run = simulate(TABLE, rows(3), PauseOnce(), workers=1, max_trials=3)
    order = [(r.trial, r.step) for r in run.reports]
    assert order == [
        ("0000", 1),
        ("0001", 1),
        ("0001", 2),
        ("0001", 3),
        ("0002", 1),
        ("0002", 2),
        ("0002", 3),
    ]
    assert run.outcomes == {"0001": "finished", "0002": "finished", "0000": "stopped"}


def test_a_trial_that_is_not_paused_cannot_go_on():
    scheduler = PauseOnce()
    scheduler.waiting = ["0007", "0008"]
    with pytest.raises(ValueError, match="promote\\(\\) gave '0008', which is not paused"):
        simulate(TABLE, rows(3), scheduler, max_trials=3)


class OneAtATime(FixedList):
    """Has nothing to suggest while a trial runs."""

    running = False

    def ask(self, trial):
        free, self.running = not self.running, True
        return super().ask(trial) if free else None

    def end(self, trial, outcome):
        self.running = False


def test_workers_that_want_a_suggestion_are_counted():
    run = simulate(TABLE, OneAtATime([{"row": 0}, {"row": 1}]), FullTraining(), workers=3, max_trials=2)
    assert run.outcomes == {"0000": "finished", "0001": "finished"}
    assert run.idle == 2 * 3  # two workers wait for three steps; when no trial is left, none does
    assert run.unanswered == 3  # at the start and after each report but the last


def test_it_is_deterministic():
    def once():
        problem = Problem(learning, 9, cost=lambda config, step: 0.5 + config["size"])
        scheduler = SuccessiveHalving(GOALS, max_step=9)
        return simulate(problem, NSGA2(SPACE, GOALS, seed=4), scheduler, workers=7, max_trials=60)

    assert once() == once()


def test_a_thousand_workers_are_never_idle():
    problem = Problem(lambda config, step: {"error": 0.0}, 2)
    run = simulate(problem, rows(3000), FullTraining(), workers=1000, max_trials=3000)
    assert len(run.reports) == 6000
    assert run.reports[-1].time == 6


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"workers": 0, "max_trials": 1}, "workers is 0"),
        ({}, "without end"),
    ],
)
def test_bad_settings_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        simulate(TABLE, rows(1), FullTraining(), **keywords)


def test_steps_out_of_order_are_refused():
    with pytest.raises(ValueError, match="last_step 0 lies before first_step 1"):
        simulate(Problem(TABLE.values, 0), rows(1), FullTraining(), max_trials=1)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_cost_that_is_known_leaves_what_finishing_takes(workers):
    problem = Problem(learning, last_step=12)
    scheduler = FrontHalving(GOALS, max_step=11, grace=3)
    searcher = NSGA2(SPACE, GOALS, seed=0)
    run = simulate(problem, searcher, scheduler, workers=workers, max_cost=150, closing=True)
    assert 130 < run.spent <= 150
    assert [r.spent for r in run.reports if r.step == 1][-1] < 140
    left = set(run.configs) - set(run.outcomes)
    assert not left & set(scheduler.left())  # all that may end on the front was trained to the end
