"""An asynchronous cluster simulated event by event over a table or a function with a cost a step.

The searchers and schedulers are the very ones that run on Ray; simulated time passes, real time hardly does.
The same arguments always give the same simulation.

    problem = Problem(values=lambda config, step: {"error": table[config["row"], step]}, last_step=52)
    reports = simulate(problem, searcher, scheduler, workers=4, max_cost=2080).reports

``faults`` lets trials crash, straggle and report late; ``recorded_curves`` replays those of a run's journal.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

from raysearch.basics.failures import UserError
from raysearch.schedulers.base import Deciding, Decision, Finishing, Promoting
from raysearch.schedulers.pace import Pace
from raysearch.searchers.base import Choosing, Config, Outcome, Suggesting
from raysearch.simulation.faults import Faults, Mishap
from raysearch.simulation.problem import Problem, Report, Simulation

_NO_MISHAP = Mishap()


def simulate(
    problem: Problem,
    searcher: Suggesting,
    scheduler: Deciding,
    *,
    workers: int = 1,
    max_trials: int | None = None,
    max_cost: float | None = None,
    closing: bool = False,
    faults: Faults | None = None,
) -> Simulation:
    """Run a search until the trials or the cost are used up, or the searcher has nothing more to suggest.

    Args:
        problem: what trials report.
        searcher: suggests configs.
        scheduler: decides after each report. Where it pauses a trial, the worker turns to another one; a
            trial that it promotes goes on before a new one is begun. Trials that are still paused when
            nothing else can run end as stopped.
        workers: how many trials run at once, >= 1.
        max_trials: begin no more trials than this.
        max_cost: end with the last report that keeps the total cost within this.
        closing: begin no trial that would leave too little of ``max_cost`` to finish it, what is under way,
            and what waits and the scheduler would finish.
        faults: what goes wrong; None: nothing.

    Raises:
        ValueError: no worker, neither limit, steps out of order, or a promoted trial that is not paused.
    """
    if workers < 1:
        raise UserError(f"workers is {workers}: give at least 1")
    if max_trials is None and max_cost is None:
        raise UserError("a simulation without end: give max_trials or max_cost")
    if problem.last_step < problem.first_step:
        raise UserError(f"last_step {problem.last_step} lies before first_step {problem.first_step}")
    budget = max_cost if closing and max_cost is not None else math.inf
    cluster = _Cluster(problem, searcher, scheduler, workers, max_trials, budget, faults)
    while cluster.step(max_cost):
        pass
    return cluster.record


@dataclass(slots=True)
class _Trial:
    """A trial that has not ended.

    Attributes:
        saved: the step at which it goes on after a crash or a pause.
        life: raised when what was begun is thrown away; an event of an earlier life is void.
        attempts: how many steps it began.
        begun: when the step under way began, of what cost and lasting how long; cost 0 when none is.
        told: when its latest report arrives.
        taken: the cost of all that it began.
        step: the last that it reported.
    """

    config: Config
    number: int
    saved: int
    life: int = 0
    attempts: int = 0
    begun: float = 0.0
    cost: float = 0.0
    lasts: float = 0.0
    mishap: Mishap = _NO_MISHAP
    told: float = 0.0
    taken: float = 0.0
    step: int = -1


# An event: (time, order of beginning, trial, step, life, whether it is a report that arrives late).
# Equal times are served in the order of beginning.
_Event = tuple[float, int, str, int, int, bool]


class _Cluster:
    """The workers, the trials that have not ended, and the events to come in a heap by time."""

    def __init__(
        self,
        problem: Problem,
        searcher: Suggesting,
        scheduler: Deciding,
        workers: int,
        max_trials: int | None,
        budget: float,
        faults: Faults | None,
    ) -> None:
        self.record = Simulation()
        self._problem = problem
        self._searcher = searcher
        self._scheduler = scheduler
        self._faults = faults
        self._idle = workers
        self._to_begin = max_trials
        self._time = self._spent = 0.0
        self._events: list[_Event] = []
        self._pushed = 0
        self._trials: dict[str, _Trial] = {}
        self._paused: dict[str, None] = {}
        self._promoting = scheduler if isinstance(scheduler, Promoting) else None
        self._budget, self._closing, self._pace = budget, False, Pace()
        self._wanting = False
        self._employ()

    def step(self, max_cost: float | None) -> bool:
        """Handle the next event; False when there is none or the cost is used up."""
        if not self._events:
            return self._give_up_paused()
        time, _, name, step, life, late = heapq.heappop(self._events)
        trial = self._trials.get(name)
        if trial is None or trial.life != life:
            return True
        if self._wanting:
            self.record.idle += self._idle * (time - self._time)
        self._time = time
        if not late:
            self._spent += trial.cost
            trial.cost = 0.0
            if max_cost is not None and self._spent > max_cost:
                return False
        if late:
            self._decide(name, step, under_way=True)
        elif trial.mishap.crashed:
            self._crash(name, trial)
        else:
            self._complete(name, trial, step)
        self._employ()
        return True

    def _complete(self, name: str, trial: _Trial, step: int) -> None:
        """A step is done: its report arrives now, or later while the trial goes on."""
        every = self._faults.checkpoint_every if self._faults else 1
        if (step + 1 - self._problem.first_step) % every == 0:
            trial.saved = step + 1
        trial.told = max(trial.told, self._time + trial.mishap.delay)
        if trial.told <= self._time:
            return self._decide(name, step, under_way=False)
        self._push(trial.told, name, step, late=True)
        if step < self._problem.last_step:
            self._begin(name, step + 1)
        return None

    def _crash(self, name: str, trial: _Trial) -> None:
        assert self._faults is not None
        crashes = self.record.crashes[name] = self.record.crashes.get(name, 0) + 1
        if crashes > self._faults.max_crashes:
            return self._end(name, "failed")
        return self._begin(name, trial.saved)

    def _decide(self, name: str, step: int, *, under_way: bool) -> None:
        """Take a report in and follow the decision; ``under_way``: the trial has gone on since."""
        trial = self._trials[name]
        values = self._problem.values(trial.config, step)
        self._pace.reported(name, step, trial.taken, self._problem.last_step)
        trial.step = step
        self._searcher.tell(name, step, values)
        decision = self._scheduler.decide(name, step, values)
        self.record.reports.append(Report(self._time, self._spent, name, step, values, decision))
        if step == self._problem.last_step:
            self._end(name, "finished")
        elif decision is Decision.CONTINUE:
            if not under_way:
                self._begin(name, step + 1)
        else:
            self._throw_away(trial)
            if decision is Decision.STOP:
                return self._end(name, "stopped")
            trial.saved = step + 1
            self._paused[name] = None
            self._idle += 1
        return None

    def _throw_away(self, trial: _Trial) -> None:
        """Void what the trial has begun or not yet told; the part of a step that ran is spent."""
        if trial.cost and trial.lasts:
            self._spent += trial.cost * (self._time - trial.begun) / trial.lasts
        trial.cost = 0.0
        trial.life += 1

    def _end(self, name: str, outcome: Outcome) -> None:
        del self._trials[name]
        self._searcher.end(name, outcome)
        self._scheduler.end(name, outcome)
        self.record.outcomes[name] = outcome
        self._idle += 1

    def _give_up_paused(self) -> bool:
        """Nothing runs and nothing can: the paused trials end. Whether that lets new ones begin."""
        self._idle -= len(self._paused)  # their workers are free already
        for name in self._paused:
            self._end(name, "stopped")
        self._paused.clear()
        self._employ()
        return bool(self._events)

    def _begin(self, name: str, step: int) -> None:
        trial = self._trials[name]
        if self._faults:
            trial.mishap = self._faults.of(trial.number, step, trial.attempts)
        trial.attempts += 1
        trial.begun, trial.cost = self._time, self._problem.cost(trial.config, step)
        trial.lasts = trial.cost * trial.mishap.slowdown
        self._pace.began(name, step - 1, trial.taken)
        trial.taken += trial.cost
        self._push(self._time + trial.lasts, name, step, late=False)

    def _push(self, time: float, name: str, step: int, *, late: bool) -> None:
        heapq.heappush(self._events, (time, self._pushed, name, step, self._trials[name].life, late))
        self._pushed += 1

    def _employ(self) -> None:
        """Give every idle worker a promoted trial, else a new one, as long as there are any."""
        self._wanting = False
        while self._idle:
            self._closing = self._cost_is_short()
            if self._closing and not self._left():
                return
            if not ((not self._closing and (self._promote() or self._begin_new())) or self._finish()):
                return
            self._idle -= 1

    def _left(self) -> dict[str, int]:
        """What the scheduler would finish, with the steps that it reached."""
        return self._scheduler.left() if isinstance(self._scheduler, Finishing) else {}

    def _cost_is_short(self) -> bool:
        if math.isinf(self._budget):
            return False
        under_way = {name: trial.step for name, trial in self._trials.items() if name not in self._paused}
        left = {**self._left(), **under_way, "one more": 0}
        last = self._problem.last_step
        cost = sum(self._pace.until(name, step, last) for name, step in left.items())
        return self._spent + cost >= self._budget

    def _promote(self) -> bool:
        """Let a paused trial go on that is promoted; whether there was one."""
        return self._promoting is not None and self._go_on(self._promoting.promote())

    def _finish(self) -> bool:
        """Let a paused trial go on, now that no more begin; whether there was one."""
        no_more = self._closing or self._to_begin == 0 or not self._events
        if not no_more or not isinstance(self._promoting, Finishing):
            return False
        left, choosing = list(self._promoting.left()), isinstance(self._searcher, Choosing)
        chosen = self._searcher.choose(left, self._paused) if choosing and len(left) > 1 else None
        finish = self._promoting.finish
        return self._go_on(finish(chosen) if chosen in left else finish())

    def _go_on(self, name: str | None) -> bool:
        if name is None:
            return False
        if name not in self._paused:
            raise ValueError(f"promote() gave {name!r}, which is not paused")
        del self._paused[name]
        self._begin(name, self._trials[name].saved)
        return True

    def _begin_new(self) -> bool:
        if self._to_begin == 0:
            return False
        number = len(self.record.configs)
        name = f"{number:04d}"
        config = self._searcher.ask(name)
        if config is None:
            self._wanting = True
            self.record.unanswered += 1
            return False
        self.record.configs[name] = config
        self._trials[name] = _Trial(config, number, self._problem.first_step)
        if self._to_begin is not None:
            self._to_begin -= 1
        self._begin(name, self._problem.first_step)
        return True
