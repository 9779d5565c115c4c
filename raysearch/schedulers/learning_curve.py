"""Successive halving that also stops what, by its learning curve, will not improve the hypervolume.

References:
    Domhan, T., Springenberg, J. T., & Hutter, F. (2015). Speeding up automatic hyperparameter optimization of
        deep neural networks by extrapolation of learning curves. (stopping by the probability to improve)
    Schmucker, R., Donini, M., Zafar, M. B., Salinas, D., & Archambeau, C. (2021). Multi-objective
        asynchronous successive halving. (the rungs)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision, Outcome
from raysearch.schedulers.successive_halving import Form, SuccessiveHalving

Floats = NDArray[np.float64]


class LearningCurveStopping:
    """Stops a trial at halving's rungs, and between them once its final point will hardly be on the front.

    A curve is the trial's best costs so far. Over the logarithm of the step, learning curves flatten: the
    straight line through its latest ``eta``-fold of steps is the most that a curve may still fall, nothing
    the least, and any fall between the two is taken to be as likely as another. A trial is stopped, in both
    forms, when the probability that its final point improves the hypervolume, so is not dominated by what
    the trials have reached, is below ``threshold``. Metrics known before training are level curves.

    No line is drawn farther than the curve was followed: a trial is judged only from the step on that has as
    many foldings behind it, since ``grace``, as ahead. Until then halving's ranks alone decide, as early
    values say too little of late bloomers.

    A trial that dominates all others so far is never stopped. One that is infeasible, or has an objective
    that is not finite or not reported yet, is left to halving.

    Args:
        goals: objectives and constraints.
        max_step: the last step at which a trial may be stopped (epochs).
        grace: the first rung, 1 <= grace <= max_step.
        eta: one in ``eta`` passes a rung; > 1.
        form: halving's: "stop" or "promote".
        threshold: the probability to improve below which a trial is stopped, 0 <= threshold < 1.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        goals: Goals,
        *,
        max_step: int,
        grace: int = 1,
        eta: float = 3,
        form: Form = "stop",
        threshold: float = 0.1,
    ) -> None:
        if not 0 <= threshold < 1:
            raise UserError(f"threshold is {threshold}: it is a probability, give 0 or more and less than 1")
        self._halving = SuccessiveHalving(goals, max_step=max_step, grace=grace, eta=eta, form=form)
        self._goals, self._max_step, self._eta, self._threshold = goals, max_step, eta, threshold
        self._first = math.sqrt(grace * max_step)
        self._live: dict[str, _Curve] = {}
        self._front: Floats = np.empty((0, len(goals.metrics)))

    def decide(
        self, trial: str, step: int, values: Mapping[str, float], given: Decision | None = None
    ) -> Decision:
        """Halving's decision, and STOP where the curve is not likely to end on the front."""
        decision = self._halving.decide(trial, step, values, given)
        curve = self._live.setdefault(trial, _Curve())
        if step <= curve.step:
            return decision
        curve.step = step
        curve.values.update(values)
        costs = self._goals.costs(curve.values)
        if not 1 <= step <= self._max_step or not np.isfinite(costs).all():
            return decision
        curve.add(step, costs)
        if self._goals.violation(curve.values, step) > 0:
            return decision
        self._admit(curve.costs[-1])
        if not self._first <= step < self._max_step:
            return decision
        curve.forget(step / self._eta)
        judged = given is None and decision is Decision.CONTINUE
        return Decision.STOP if judged and self._dominates(self._likely_end(curve)) else decision

    def promote(self, given: str | None = None) -> str | None:
        """The paused trial that halving promotes."""
        return self._halving.promote(given)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Forget the trial's curve; what it reached stays."""
        self._halving.end(trial, outcome)
        self._live.pop(trial, None)

    def state(self) -> dict[str, Any]:
        """Halving's state, the front, and the curves of the running and paused trials."""
        return {
            "halving": self._halving.state(),
            "front": self._front.tolist(),
            "live": {trial: curve.state() for trial, curve in self._live.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a scheduler with the same rungs.

        Raises:
            ValueError: the rungs differ.
        """
        self._halving.load(state["halving"])
        self._front = np.array(state["front"], dtype=np.float64).reshape(-1, len(self._goals.metrics))
        self._live = {trial: _Curve.load(saved) for trial, saved in state["live"].items()}

    def _likely_end(self, curve: _Curve) -> Floats:
        """The costs at the last step that are missed with the probability ``threshold``, shape (m,)."""
        now, latest = curve.steps[-1], curve.costs[-1]
        before, earlier = curve.steps[0], curve.costs[0]
        if before == now:
            return np.full_like(latest, -np.inf)  # one point has no direction
        foldings = math.log(self._max_step / now) / math.log(now / before)
        with np.errstate(over="ignore"):
            end: Floats = latest - (1 - self._threshold) * foldings * (earlier - latest)
        return end

    def _admit(self, costs: Floats) -> None:
        """Add a point to the front, unless it is there or dominated."""
        if not (self._front <= costs).all(axis=1).any():
            self._front = np.vstack([self._front[(self._front < costs).any(axis=1)], costs])

    def _dominates(self, costs: Floats) -> bool:
        """Whether the front dominates a point; equal ones do not, or all on a common plateau would stop."""
        as_good = (self._front <= costs).all(axis=1)
        return bool((as_good & (self._front < costs).any(axis=1)).any())


@dataclass
class _Curve:
    """A live trial's latest values, and its best costs so far at the steps that are still of use."""

    step: int = -1
    values: dict[str, float] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    costs: list[Floats] = field(default_factory=list)

    def add(self, step: int, costs: Floats) -> None:
        """Take in finite costs, shape (m,)."""
        self.steps.append(step)
        self.costs.append(np.minimum(costs, self.costs[-1]) if self.costs else costs)

    def forget(self, before: float) -> None:
        """Drop all points but one of those up to a step."""
        old = max(0, sum(step <= before for step in self.steps) - 1)
        del self.steps[:old], self.costs[:old]

    def state(self) -> dict[str, Any]:
        """Plain JSON."""
        costs = [point.tolist() for point in self.costs]
        return {"step": self.step, "values": dict(self.values), "steps": list(self.steps), "costs": costs}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> _Curve:
        """From what ``state`` returned."""
        costs = [np.array(point, dtype=np.float64) for point in state["costs"]]
        return cls(state["step"], dict(state["values"]), list(state["steps"]), costs)
