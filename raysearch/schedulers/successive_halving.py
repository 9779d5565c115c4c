"""Asynchronous successive halving over several objectives and constraints, in the stopping form.

References:
    Li, L., Jamieson, K., Rostamizadeh, A., Gonina, E., Hardt, M., Recht, B., & Talwalkar, A. (2020). A
        system for massively parallel hyperparameter tuning. (ASHA)
    Schmucker, R., Donini, M., Zafar, M. B., Salinas, D., & Archambeau, C. (2021). Multi-objective
        asynchronous successive halving. (ranks by non-dominated sorting and epsilon net)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raysearch.objectives import Goals
from raysearch.pareto import epsilon_net_order, ranks
from raysearch.schedulers.base import Decision, Outcome


class SuccessiveHalving:
    """Lets a trial pass a rung if it is among the best 1/eta of those that reached it so far.

    Rungs stand at the steps grace, grace * eta, grace * eta**2, ... below ``max_step``. A trial meets the
    highest rung at or below its step, once; it is judged there by the latest value of each metric, with
    itself in the comparison, so a newcomer that dominates all others always passes. With one objective and
    no constraint this is ASHA. An objective not reported yet counts as the worst; one reported as NaN stops
    the trial.

    Args:
        goals: objectives and constraints.
        max_step: the last step at which a trial may be stopped (epochs).
        eta: one in ``eta`` passes a rung; > 1.
        grace: the first rung, 1 <= grace <= max_step.

    Raises:
        ValueError: eta or grace is out of range.
    """

    def __init__(self, goals: Goals, *, max_step: int, eta: float = 3, grace: int = 1) -> None:
        if not 1 < eta < math.inf:
            raise ValueError(
                f"eta is {eta}: one in eta trials passes a rung, give a number above 1 such as 3"
            )
        if not 1 <= grace <= max_step:
            raise ValueError(f"grace is {grace}: the first rung must lie between 1 and max_step {max_step}")
        self._goals = goals
        self._max_step = max_step
        self._eta = eta
        self._rungs = [_Rung(step, len(goals.metrics)) for step in _rung_steps(grace, eta, max_step)]
        self._live: dict[str, _Progress] = {}

    def decide(self, trial: str, step: int, values: Mapping[str, float]) -> Decision:
        """STOP a trial that meets a rung and is not among its best, else CONTINUE."""
        progress = self._live.setdefault(trial, _Progress())
        if step <= progress.step:
            return Decision.CONTINUE
        progress.step = step
        progress.values.update(values)
        rung = self._rung_met(trial, step)
        if rung is None:
            return Decision.CONTINUE
        known = [progress.values[m] for m in self._goals.metrics if m in progress.values]
        if any(math.isnan(value) for value in known):
            return Decision.STOP
        if not known:
            return Decision.CONTINUE
        rung.add(trial, self._goals.costs(progress.values), self._goals.violation(progress.values, step))
        return Decision.CONTINUE if rung.newest_passes(self._eta) else Decision.STOP

    def end(self, trial: str, outcome: Outcome) -> None:
        """Forget the trial's progress; what it showed at the rungs stays."""
        self._live.pop(trial, None)

    def state(self) -> dict[str, Any]:
        """The rungs and the progress of the running trials."""
        return {
            "rungs": [rung.state() for rung in self._rungs],
            "live": {trial: {"step": p.step, "values": dict(p.values)} for trial, p in self._live.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a scheduler with the same rungs.

        Raises:
            ValueError: the rungs differ.
        """
        steps, given = [rung.step for rung in self._rungs], [rung["step"] for rung in state["rungs"]]
        if steps != given:
            raise ValueError(
                f"state has rungs at {given}, this scheduler at {steps}: use the same max_step, eta, grace"
            )
        for rung, saved in zip(self._rungs, state["rungs"], strict=True):
            rung.load(saved)
        self._live = {trial: _Progress(p["step"], dict(p["values"])) for trial, p in state["live"].items()}

    def _rung_met(self, trial: str, step: int) -> _Rung | None:
        """The highest rung at or below ``step`` if the trial meets it now for the first time."""
        if step > self._max_step:
            return None
        reached = [rung for rung in self._rungs if rung.step <= step]
        return reached[-1] if reached and trial not in reached[-1].trials else None


@dataclass
class _Progress:
    """How far a running trial is, and the latest value of each metric it reported."""

    step: int = -1
    values: dict[str, float] = field(default_factory=dict)


class _Rung:
    """The costs and violations of the trials that met one rung, in arrays that grow by doubling."""

    def __init__(self, step: int, objectives: int) -> None:
        self.step = step
        self.trials: dict[str, None] = {}
        self._costs = np.empty((16, objectives))
        self._violations = np.empty(16)

    def add(self, trial: str, costs: np.ndarray, violation: float) -> None:
        n = len(self.trials)
        if n == len(self._violations):
            self._costs = np.concatenate([self._costs, np.empty_like(self._costs)])
            self._violations = np.concatenate([self._violations, np.empty_like(self._violations)])
        self._costs[n], self._violations[n] = costs, violation
        self.trials[trial] = None

    def newest_passes(self, eta: float) -> bool:
        """Whether the trial added last is among the first max(1, n // eta) by priority.

        The same as asking pareto.priority, but only the front in which the newest stands is put in order.
        """
        n = len(self.trials)
        costs = self._costs[:n]
        rank = ranks(costs, self._violations[:n])
        places = max(1, int(n // eta)) - int((rank < rank[-1]).sum())
        front = np.flatnonzero(rank == rank[-1])
        if places <= 0 or len(front) <= places:
            return places > 0
        return len(front) - 1 in epsilon_net_order(costs[front])[:places]

    def state(self) -> dict[str, Any]:
        n = len(self.trials)
        return {
            "step": self.step,
            "trials": list(self.trials),
            "costs": self._costs[:n].tolist(),
            "violations": self._violations[:n].tolist(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.trials = {}
        for trial, costs, violation in zip(state["trials"], state["costs"], state["violations"], strict=True):
            self.add(trial, np.asarray(costs), violation)


def _rung_steps(grace: int, eta: float, max_step: int) -> list[int]:
    """grace, grace * eta, ... below max_step, as whole steps without repetition."""
    steps: list[int] = []
    step = float(grace)
    while round(step) < max_step:
        if round(step) not in steps:
            steps.append(round(step))
        step *= eta
    return steps
