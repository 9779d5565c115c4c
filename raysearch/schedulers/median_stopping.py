"""The median stopping rule, generalised to fronts.

References:
    Golovin, D., Solnik, B., Moitra, S., Kochanski, G., Karro, J., & Sculley, D. (2017). Google Vizier: a
        service for black-box optimization. (3.2.2, the median stopping rule)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from raysearch.basics.failures import UserError
from raysearch.metrics import is_static
from raysearch.objectives import Goals
from raysearch.pareto import FrontOrder, Standing, check_order
from raysearch.schedulers.base import Decision, Outcome
from raysearch.schedulers.rung import Rung


class MedianStopping:
    """Stops a trial whose best so far is worse than the median of the others' running averages.

    A trial's best so far is, for each objective, the best value that it reported up to a step; its running
    average is the mean of those values. At each step the trial's best is placed among the averages of all
    others that reached the step: by non-domination rank, then by ``order`` inside a front, constraints first
    (each trial's violation is its latest). It is stopped if more than half of them come before it. So a
    trial whose best is dominated by no average of the better half goes on, and one that dominates all is
    never stopped.

    With one objective and no violation this is the rule of Vizier: stopped if the best is strictly worse
    than the median. An objective not reported yet counts as the worst; one reported as NaN stops the trial.
    A trial that skips a step counts there with what it had reported before.

    Args:
        goals: objectives and constraints.
        max_step: the last step at which a trial may be stopped (epochs).
        grace: the first step at which one may be, 1 <= grace <= max_step.
        min_trials: how many others must have reached a step before anything is stopped there, >= 1.
        order: what counts inside a front: "epsilon_net" or "hypervolume" (the contribution to it).

    Raises:
        ValueError: grace, min_trials or order is out of range.
    """

    def __init__(
        self,
        goals: Goals,
        *,
        max_step: int,
        grace: int = 1,
        min_trials: int = 3,
        order: FrontOrder = "epsilon_net",
    ) -> None:
        if not 1 <= grace <= max_step:
            raise UserError(f"grace is {grace}: the first step must lie between 1 and max_step {max_step}")
        if min_trials < 1:
            raise UserError(f"min_trials is {min_trials}: a median needs at least 1 other trial")
        check_order(order)
        self._goals, self._max_step, self._grace = goals, max_step, grace
        self._min_trials, self._order = min_trials, order
        self._steps = {step: Rung(step, len(goals.metrics), order) for step in range(grace, max_step + 1)}
        self._live: dict[str, _Curve] = {}

    def decide(
        self, trial: str, step: int, values: Mapping[str, float], given: Decision | None = None
    ) -> Decision:
        """STOP a trial whose best so far is worse than the median, else CONTINUE."""
        curve = self._live.setdefault(trial, _Curve())
        if step <= curve.step or step > self._max_step:
            return Decision.CONTINUE
        self._enter(trial, curve, range(curve.step + 1, step))
        trained = values if step >= 1 else {m: v for m, v in values.items() if is_static(m)}
        curve.take(step, trained, self._goals)
        if step < self._grace:
            return given or Decision.CONTINUE
        if any(math.isnan(curve.latest[m]) for m in self._goals.metrics if m in curve.latest):
            return given or Decision.STOP
        worse = given is None and self._worse_than_median(curve, self._steps[step])
        self._enter(trial, curve, range(step, step + 1))
        return given or (Decision.STOP if worse else Decision.CONTINUE)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Forget the trial's own curve; its averages stay."""
        self._live.pop(trial, None)

    def state(self) -> dict[str, Any]:
        """The averages at each step and the curves of the running trials."""
        return {
            "steps": [rung.state() for rung in self._steps.values()],
            "live": {trial: asdict(curve) for trial, curve in self._live.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a scheduler with the same steps.

        Raises:
            ValueError: the steps differ.
        """
        own, given = list(self._steps), [saved["at"] for saved in state["steps"]]
        if own != given:
            raise ValueError(
                f"state has steps {given[:1]} to {given[-1:]}, this scheduler {own[:1]} to {own[-1:]}: "
                f"use the same max_step and grace"
            )
        for rung, saved in zip(self._steps.values(), state["steps"], strict=True):
            rung.load(saved)
        self._live = {trial: _Curve(**deepcopy(curve)) for trial, curve in state["live"].items()}

    def _enter(self, trial: str, curve: _Curve, steps: range) -> None:
        """Let the running average as it stands count at these steps."""
        mean = curve.mean()
        if not mean:
            return
        for step in range(max(steps.start, self._grace), steps.stop):
            if trial not in self._steps[step].trials:
                self._steps[step].add(trial, self._goals.costs(mean), curve.violation)

    def _worse_than_median(self, curve: _Curve, others: Rung) -> bool:
        costs, violations = others.rows
        own, count = self._goals.costs(curve.best), len(violations)
        if count < self._min_trials or np.isnan(own).all():
            return False
        if len(own) == 1 and curve.violation <= 0 and not (violations > 0).any():
            with np.errstate(all="ignore"):  # the middle of two infinite or huge figures
                return bool(own[0] > np.median(np.where(np.isnan(costs), np.inf, costs)))
        # It stands first among its equals, so that only what is better comes before it.
        costs, violations = np.vstack([own, costs]), np.r_[curve.violation, violations]
        return not Standing(costs, violations, self._order).among_first(0, count // 2 + 1)


@dataclass
class _Curve:
    """How far a running trial is: of each metric the latest value, of each objective the sum and the best."""

    step: int = -1
    violation: float = 0.0
    latest: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    total: dict[str, float] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def take(self, step: int, values: Mapping[str, float], goals: Goals) -> None:
        """Take in a report; a NaN counts in neither the best nor the average."""
        self.step = step
        self.latest.update(values)
        self.violation = goals.violation(self.latest, step)
        for objective in goals.objectives:
            metric, better = objective.metric, max if objective.maximize else min
            value = values.get(metric, math.nan)
            if not math.isnan(value):
                self.best[metric] = better(value, self.best.get(metric, value))
                self.total[metric] = self.total.get(metric, 0.0) + value
                self.count[metric] = self.count.get(metric, 0) + 1

    def mean(self) -> dict[str, float]:
        """The running average of each objective reported so far."""
        return {metric: total / self.count[metric] for metric, total in self.total.items()}
