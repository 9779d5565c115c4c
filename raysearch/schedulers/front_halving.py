"""Asynchronous halving by pausing that lets only go on what may end on the front, and ends by finishing it.

References:
    Laumanns, M., Thiele, L., Deb, K., & Zitzler, E. (2002). Combining convergence and diversity in
        evolutionary multiobjective optimization. (additive epsilon-dominance)
    Li, L., Jamieson, K., Rostamizadeh, A., Gonina, E., Hardt, M., Recht, B., & Talwalkar, A. (2020). A
        system for massively parallel hyperparameter tuning. (the rungs)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.metrics import is_static
from raysearch.objectives import Goals
from raysearch.pareto import non_dominated
from raysearch.schedulers.base import Decision, Outcome
from raysearch.schedulers.rung import Rung

_ALL = slice(None)
_COMPARED = 500  # of a larger front so many, evenly spread in the order in which they came, are compared with


class FrontHalving:
    """Pauses a trial that will hardly end on the front, or that others shall overtake first.

    From ``grace`` on a trial is compared at every step with those that reached it too. It waits where one of
    them dominates it by a margin: is as good in every metric known before training, and in each trained one
    better by more than ``margin`` times the distance of the best from the median there. As the last step
    comes near, the margin shrinks in proportion to the steps that are left. One that breaks constraints waits
    where others keep them, unless it breaks them by less than ``margin`` times the median of all.

    At the rungs, grace, grace * eta, grace * eta**2, ..., it waits besides unless it is among the best 1/eta
    of those that came so far; where fewer than ``eta`` came, nobody goes on yet. Once no more trials begin,
    those go on that no other dominates by the margin, whatever their rank: the front is finished. Where fewer
    than ``eta`` came to a step, nobody is judged there: a study of three trials trains them all.

    Args:
        goals: objectives and constraints.
        max_step: the last step at which a trial may be paused (epochs).
        grace: the first step at which trials are compared, 1 <= grace <= max_step.
        eta: one in ``eta`` passes a rung; > 1.
        margin: how much worse a trial may be than one that dominates it, >= 0.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self, goals: Goals, *, max_step: int, grace: int = 1, eta: float = 4, margin: float = 0.7
    ) -> None:
        if not 1 < eta < math.inf:
            raise UserError(f"eta is {eta}: one in eta trials passes a rung, give a number above 1 such as 4")
        if not 0 <= margin < math.inf:
            raise UserError(f"margin is {margin}: give 0 or more, such as 0.7")
        if not 1 <= grace <= max_step:
            raise UserError(f"grace is {grace}: the first rung must lie between 1 and max_step {max_step}")
        self._goals, self._max_step, self._eta, self._margin = goals, max_step, eta, margin
        self._margins = np.array([0.0 if is_static(metric) else margin for metric in goals.metrics])
        self._steps = {at: Rung(at, len(goals.metrics), "epsilon_net") for at in range(grace, max_step)}
        levels = (round(grace * eta**i) for i in range(max_step))
        self._rungs = [self._steps[at] for at in sorted(set(levels) & set(self._steps), reverse=True)]
        self._live: dict[str, _Progress] = {}
        self._waiting: dict[str, Rung] = {}
        # Of each step the part of ``left``, until another trial comes there: it is asked for all the time.
        self._left: dict[Rung, dict[str, int]] = {}
        self._ending = False

    def decide(
        self, trial: str, step: int, values: Mapping[str, float], given: Decision | None = None
    ) -> Decision:
        """PAUSE a trial that is dominated by the margin, or at a rung not among its best; else CONTINUE."""
        if trial not in self._live:
            self._live[trial] = _Progress()
            self._ending = False
        progress = self._live[trial]
        if step <= progress.step:
            return Decision.CONTINUE
        self._release(trial)
        progress.step = step
        progress.values.update(values)
        rung = self._steps.get(step)
        costs = self._goals.costs(progress.values)
        if rung is None or np.isnan(costs).all():
            return given or Decision.CONTINUE
        if any(math.isnan(progress.values.get(metric, 0.0)) for metric in self._goals.metrics):
            return given or Decision.STOP
        rung.add(trial, costs, self._goals.violation(progress.values, step))
        self._left.pop(rung, None)
        decision = given or (Decision.CONTINUE if self._goes_on(trial, rung) else Decision.PAUSE)
        if decision is Decision.PAUSE:
            rung.hold(trial)
            self._waiting[trial] = rung
        return decision

    def promote(self, given: str | None = None) -> str | None:
        """The best paused trial of the highest rung that by now passes it."""
        found = given or self._best_of_a_rung()
        if found is not None:
            self._release(found)
        return found

    def left(self) -> dict[str, int]:
        """The paused trials that may end on the front, with the steps that they reached."""
        found: dict[str, int] = {}
        for rung in self._steps.values():
            if rung not in self._left:
                waiting = [trial for trial, at in self._waiting.items() if at is rung]
                hopeful = self._hopeful(rung) if waiting else ()
                self._left[rung] = {t: int(rung.at) for t in waiting if hopeful[rung.trials[t]]}
            found |= self._left[rung]
        return found

    def finish(self, given: str | None = None) -> str | None:
        """A paused trial that may end on the front.

        Once there was one none waits for its rank, until a new trial begins.
        """
        found = given or self._next_of_the_front()
        if found is not None:
            self._ending = True
            self._release(found)
        return found

    def end(self, trial: str, outcome: Outcome) -> None:
        """Forget the trial's progress; what it showed stays."""
        self._live.pop(trial, None)
        self._release(trial)

    def state(self) -> dict[str, Any]:
        """What each step showed, and the progress of the running and paused trials."""
        return {
            "steps": [rung.state() for rung in self._steps.values()],
            "live": {t: {"step": p.step, "values": dict(p.values)} for t, p in self._live.items()},
            "ending": self._ending,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a scheduler with the same steps.

        Raises:
            ValueError: the steps differ.
        """
        own, given = list(self._steps), [saved["at"] for saved in state["steps"]]
        if own != given:
            raise ValueError(f"state has steps {given}, not {own}: use the same max_step and grace")
        self._waiting, self._left = {}, {}
        for rung, saved in zip(self._steps.values(), state["steps"], strict=True):
            rung.load(saved)
            self._waiting.update(dict.fromkeys(saved["waiting"], rung))
        self._live = {t: _Progress(p["step"], dict(p["values"])) for t, p in state["live"].items()}
        self._ending = state["ending"]

    def _goes_on(self, trial: str, rung: Rung) -> bool:
        """Whether the trial that came last to a step goes on at once."""
        if not self._hopeful(rung, slice(-1, None))[0]:
            return False
        if self._ending or rung not in self._rungs:
            return True
        return len(rung.trials) >= self._eta and rung.newest_passes(self._eta)

    def _best_of_a_rung(self) -> str | None:
        rungs = (rung for rung in self._rungs if len(rung.trials) >= self._eta)
        return next((t for rung in rungs if (t := rung.promote(self._eta, self._hopeful))), None)

    def _next_of_the_front(self) -> str | None:
        """A waiting trial that may end on the front; of those the farthest."""
        left = self.left()
        return max(left, key=left.__getitem__, default=None)

    def _hopeful(self, rung: Rung, rows: slice = _ALL) -> NDArray[np.bool_]:
        """Which of the trials that came to a step may end on the front, shape (n,).

        None of the feasible is better than they are by the margin, and they are feasible or by their own
        margin near to it. While none is feasible, or fewer than ``eta`` came, all may.
        """
        costs, violations = rung.rows
        front = costs[non_dominated(costs, violations)]
        if not len(front) or len(costs) < self._eta:
            return np.ones(len(costs[rows]), dtype=np.bool_)
        front = front[:: 1 + len(front) // _COMPARED]
        left = 1 - rung.at / self._max_step
        finite = costs[(violations <= 0) & np.isfinite(costs).all(axis=1)]
        spread = np.median(finite, axis=0) - finite.min(axis=0) if len(finite) else np.zeros(costs.shape[1])
        allowed, near = left * self._margins * spread, left * self._margin * np.median(violations)
        own = costs[rows][:, None]
        ahead = np.all(front <= own - allowed, axis=2) & np.any(front < own, axis=2)
        hopeful: NDArray[np.bool_] = (violations[rows] <= near) & ~np.any(ahead, axis=1)
        return hopeful

    def _release(self, trial: str) -> None:
        rung = self._waiting.pop(trial, None)
        if rung is not None:
            rung.release(trial)
            self._left.get(rung, {}).pop(trial, None)


@dataclass
class _Progress:
    """How far a trial is, and the latest value of each metric that it reported."""

    step: int = -1
    values: dict[str, float] = field(default_factory=dict)
