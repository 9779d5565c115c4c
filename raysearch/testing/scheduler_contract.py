"""What every scheduler must keep, driven through every way in which trials can go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from raysearch.objectives import Goals
from raysearch.schedulers.base import Deciding, Decision, Finishing, Outcome, Promoting, Scheduler
from raysearch.searchers.base import Config
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, simulate
from raysearch.testing.demands import GOALS, ONE_GOAL, Values, demand, same, through_json


def check_scheduler(make: Callable[[Goals], Scheduler]) -> None:
    """Check that a scheduler keeps its contract, with 9 epochs a trial (``max_step`` 9).

    It never stops a feasible newcomer that dominates all; lets the exported model (step 10) be; ignores
    repeated steps; bears skipped steps, ties, NaN, infinities, a missing objective and a single one; and its
    state is plain JSON that changes no later decision, also while trials are paused; it takes given decisions
    as if they were its own. One that pauses promotes only paused trials, each once a pause.

    Args:
        make: from goals to a fresh scheduler, with the same seed each time.

    Raises:
        AssertionError: it does not keep the contract.
    """
    reports = list(_reports())
    first, second = make(GOALS), make(GOALS)
    decisions = [first.decide(*report) for report in reports]
    demand(all(isinstance(d, Decision) for d in decisions), "decide must return a Decision")
    half = len(reports) // 2
    for report in reports[:half]:
        second.decide(*report)
    resumed = make(GOALS)
    resumed.load(through_json(second.state()))
    later = [resumed.decide(*report) for report in reports[half:]]
    demand(later == decisions[half:], "state and load must not change later decisions")
    before = through_json(first.state())
    repeated = [first.decide(*report) for report in reports[-20:]]
    demand(set(repeated) <= {Decision.CONTINUE}, "a step reported before must be answered CONTINUE")
    demand(same(through_json(first.state()), before), "a step reported before must change nothing")
    _check_best(first)
    for goals in (GOALS, ONE_GOAL):
        _check_run(make, goals)
    _check_given(make, reports, decisions)


def _check_given(
    make: Callable[[Goals], Scheduler],
    reports: Sequence[tuple[str, int, Values]],
    decisions: Sequence[Decision],
) -> None:
    """Decisions that were made before are taken, also where it would decide otherwise."""
    own, same_rule, lenient = make(GOALS), make(GOALS), make(GOALS)
    for report in reports:
        own.decide(*report)
    answers = [same_rule.decide(*report, given) for report, given in zip(reports, decisions, strict=True)]
    answers += [lenient.decide(*report, Decision.CONTINUE) for report in reports]
    taken = answers == [*decisions, *[Decision.CONTINUE] * len(reports)]
    demand(taken, "decide must return the decision that is given: decide(trial, step, values, given=None)")
    demand(
        same(through_json(same_rule.state()), through_json(own.state())),
        "a decision that is given must count as if it had been made",
    )


def _reports() -> Iterator[tuple[str, int, Values]]:
    """90 trials, interleaved: duplicates, ties, NaN, infinities, skipped and repeated steps."""
    rng = np.random.default_rng(0)
    worth = {
        f"t{i}": Values(accuracy=round(rng.random(), 1), latency=round(rng.random(), 1)) for i in range(90)
    }
    for i, (trial, value) in enumerate(worth.items()):
        yield trial, 0, {"latency_ms/cpu": value["latency"]} if i != 6 else {}
    for step in range(1, 11):
        for i, (trial, value) in enumerate(worth.items()):
            if step % 3 == 1 and i % 5 == 0:
                continue
            odd = {3: math.nan, 4: math.inf, 5: -math.inf}.get(i, value["accuracy"] + 0.01 * step)
            yield trial, step, {"accuracy": odd}
            if i % 9 == 0:
                yield trial, step, {"accuracy": 0.0}


def _check_best(scheduler: Scheduler) -> None:
    """A newcomer that dominates all goes on at every step, at once or promoted."""
    for step in range(11):
        values = {"latency_ms/cpu": -1.0} if step == 0 else {"accuracy": math.inf}
        decision = scheduler.decide("best", step, values)
        promoted = _promoted(scheduler) if decision is Decision.PAUSE else []
        demand(
            decision is Decision.CONTINUE or "best" in promoted,
            f"a newcomer that dominates all must not be stopped (step {step}: {decision})",
        )
    worst = [scheduler.decide("worst", step, {"accuracy": -9.0}) for step in (10, 11)]
    demand(set(worst) == {Decision.CONTINUE}, "nothing may stop the exported model after the last epoch")


def _promoted(scheduler: Scheduler) -> list[str]:
    """All that it promotes now; a trial promoted twice ends the asking."""
    found: list[str] = []
    while isinstance(scheduler, Promoting) and (trial := scheduler.promote()) is not None:
        demand(trial not in found, f"a trial is promoted once a pause: {trial} was promoted twice")
        found.append(trial)
    return found


def _check_run(make: Callable[[Goals], Scheduler], goals: Goals) -> None:
    """A run of 40 trials on 3 workers, whole and with a fresh scheduler loaded at every seventh call."""

    def run(scheduler: Deciding) -> list[tuple[str, int, Decision]]:
        rows = FixedList([{"row": row} for row in range(40)])
        found = simulate(Problem(_row, 10, first_step=0), rows, scheduler, workers=3, max_trials=40)
        return [(report.trial, report.step, report.decision) for report in found.reports]

    try:
        whole, reloaded = run(make(goals)), run(_Reloaded(lambda: make(goals)))
    except ValueError as error:
        if "not paused" not in str(error):
            raise
        raise AssertionError(f"only paused trials may be promoted: {error}") from error
    demand(whole == reloaded, "state and load must not change later decisions while trials are paused")


def _row(config: Config, step: int) -> Values:
    rng = np.random.default_rng(config["row"])
    latency, floor = round(float(rng.random()), 1), round(float(rng.random()), 1)
    return {"latency_ms/cpu": latency} if step == 0 else {"accuracy": floor * step / (1 + step)}


class _Reloaded:
    """A scheduler that is made anew from its state, through JSON, at every seventh call."""

    def __init__(self, make: Callable[[], Deciding]) -> None:
        self._make = make
        self._inner = make()
        self._calls = 0

    def decide(self, trial: str, step: int, values: Mapping[str, float]) -> Decision:
        return self._fresh().decide(trial, step, values)

    def promote(self) -> str | None:
        inner = self._fresh()
        return inner.promote() if isinstance(inner, Promoting) else None

    def left(self) -> dict[str, int]:
        inner = self._fresh()
        return inner.left() if isinstance(inner, Finishing) else {}

    def finish(self, given: str | None = None) -> str | None:
        inner = self._fresh()
        return inner.finish(given) if isinstance(inner, Finishing) else None

    def end(self, trial: str, outcome: Outcome) -> None:
        self._fresh().end(trial, outcome)

    def state(self) -> dict[str, Any]:
        return self._inner.state()

    def load(self, state: Mapping[str, Any]) -> None:
        self._inner.load(state)

    def _fresh(self) -> Deciding:
        self._calls += 1
        if self._calls % 7 == 0:
            state, self._inner = through_json(self._inner.state()), self._make()
            self._inner.load(state)
        return self._inner
