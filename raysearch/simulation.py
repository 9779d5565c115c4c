"""An asynchronous cluster simulated event by event over a table or a function with a cost a step.

The searchers and schedulers are the very ones that run on Ray; simulated time passes, real time hardly does.
The same arguments always give the same simulation.

    problem = Problem(values=lambda config, step: {"error": table[config["row"], step]}, last_step=52)
    reports = simulate(problem, searcher, scheduler, workers=4, max_cost=2080).reports
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from raysearch.schedulers.base import Decision, Promoting, Scheduler
from raysearch.searchers.base import Config, Outcome, Searcher


@dataclass(frozen=True)
class Problem:
    """What a trial reports, and what that costs.

    Args:
        values: from a config and a step to the metrics reported at that step.
        last_step: the step at which a trial is finished.
        first_step: its first report: 1, or 0 where a hardware report comes before training.
        cost: from a config and a step to the simulated time that the step takes, >= 0.
    """

    values: Callable[[Config, int], Mapping[str, float]]
    last_step: int
    first_step: int = 1
    cost: Callable[[Config, int], float] = lambda config, step: 1.0


@dataclass(frozen=True)
class Report:
    """One report: ``time`` when it arrived, ``spent`` the cost of all reports up to it, itself included."""

    time: float
    spent: float
    trial: str
    step: int
    values: Mapping[str, float]
    decision: Decision


@dataclass
class Simulation:
    """What happened: configs by trial, reports in order of arrival, outcomes of the trials that ended."""

    configs: dict[str, Config] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def spent(self) -> float:
        """The cost of all reports."""
        return self.reports[-1].spent if self.reports else 0.0


def simulate(
    problem: Problem,
    searcher: Searcher,
    scheduler: Scheduler,
    *,
    workers: int = 1,
    max_trials: int | None = None,
    max_cost: float | None = None,
) -> Simulation:
    """Run a search until the trials or the cost are used up, or the searcher has nothing more to suggest.

    Args:
        problem: what trials report.
        searcher: suggests configs.
        scheduler: decides after each report. Where it pauses a trial, the worker turns to another one; a
            trial that it promotes goes on before a new one is begun.
        workers: how many trials run at once, >= 1.
        max_trials: begin no more trials than this.
        max_cost: end with the last report that keeps the total cost within this.

    Raises:
        ValueError: no worker, neither limit, or steps out of order.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}: give at least 1")
    if max_trials is None and max_cost is None:
        raise ValueError("a simulation without end: give max_trials or max_cost")
    if problem.last_step < problem.first_step:
        raise ValueError(f"last_step {problem.last_step} lies before first_step {problem.first_step}")
    cluster = _Cluster(problem, searcher, scheduler, workers, max_trials)
    while cluster.step(max_cost):
        pass
    return cluster.record


class _Cluster:
    """The workers and the steps under way, in a heap by the time at which they end."""

    def __init__(
        self, problem: Problem, searcher: Searcher, scheduler: Scheduler, workers: int, max_trials: int | None
    ) -> None:
        self.record = Simulation()
        self._problem = problem
        self._searcher = searcher
        self._scheduler = scheduler
        self._idle = workers
        self._left = max_trials
        self._spent = 0.0
        # (time, order of beginning, trial, step): equal times are served in the order of beginning.
        self._under_way: list[tuple[float, int, str, int]] = []
        self._begun = 0
        self._paused: dict[str, int] = {}
        self._promoting = scheduler if isinstance(scheduler, Promoting) else None
        self._employ(0.0)

    def step(self, max_cost: float | None) -> bool:
        """Handle the next report; False when there is none or the cost is used up."""
        if not self._under_way:
            return False
        time, _, trial, step = heapq.heappop(self._under_way)
        config = self.record.configs[trial]
        self._spent += self._problem.cost(config, step)
        if max_cost is not None and self._spent > max_cost:
            return False
        values = self._problem.values(config, step)
        self._searcher.tell(trial, step, values)
        decision = self._scheduler.decide(trial, step, values)
        self.record.reports.append(Report(time, self._spent, trial, step, values, decision))
        self._follow(decision, trial, step, time)
        self._employ(time)
        return True

    def _follow(self, decision: Decision, trial: str, step: int, time: float) -> None:
        if step == self._problem.last_step:
            self._end(trial, "finished")
        elif decision is Decision.STOP:
            self._end(trial, "stopped")
        elif decision is Decision.PAUSE:
            self._paused[trial] = step
            self._idle += 1
        else:
            self._begin(trial, step + 1, time)

    def _end(self, trial: str, outcome: Outcome) -> None:
        self._searcher.end(trial, outcome)
        self._scheduler.end(trial, outcome)
        self.record.outcomes[trial] = outcome
        self._idle += 1

    def _begin(self, trial: str, step: int, time: float) -> None:
        ends = time + self._problem.cost(self.record.configs[trial], step)
        heapq.heappush(self._under_way, (ends, self._begun, trial, step))
        self._begun += 1

    def _employ(self, time: float) -> None:
        """Give every idle worker a promoted trial, else a new one, as long as there are any."""
        while self._idle:
            promoted = self._promoting.promote() if self._promoting else None
            if promoted is not None:
                self._begin(promoted, self._paused.pop(promoted) + 1, time)
            elif not self._begin_new(time):
                return
            self._idle -= 1

    def _begin_new(self, time: float) -> bool:
        if self._left == 0:
            return False
        trial = f"{len(self.record.configs):04d}"
        config = self._searcher.ask(trial)
        if config is None:
            return False
        self.record.configs[trial] = config
        if self._left is not None:
            self._left -= 1
        self._begin(trial, self._problem.first_step, time)
        return True
