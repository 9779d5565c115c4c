"""Hardware first: a trial that breaks a constraint on the hardware report costs no epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysearch.metrics import is_static
from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision, Finishing, Outcome, Promoting, Scheduler


class HardwareFirst:
    """Stops a trial at step 0 if its static metrics break a constraint; all else is the inner scheduler's.

    It has ``promote``, ``finish`` and ``left`` where the inner scheduler has them, and only there.

    Args:
        inner: judges the trials that keep the constraints, from step 0 on.
        goals: the constraints.
    """

    def __init__(self, inner: Scheduler, goals: Goals) -> None:
        self._inner = inner
        self._goals = goals
        if isinstance(inner, Promoting):
            self.promote = inner.promote
        if isinstance(inner, Finishing):
            self.finish, self.left = inner.finish, inner.left

    def decide(
        self, trial: str, step: int, values: Mapping[str, float], given: Decision | None = None
    ) -> Decision:
        """STOP a hardware report that breaks a constraint, else what the inner scheduler says.

        Of one that goes on, as decided when the constraint was another, the inner scheduler is told.
        """
        static = {metric: value for metric, value in values.items() if is_static(metric)}
        if step == 0 and given in (None, Decision.STOP) and self._goals.violation(static, step) > 0:
            return Decision.STOP
        return self._inner.decide(trial, step, values, given)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Passed on."""
        self._inner.end(trial, outcome)

    def state(self) -> dict[str, Any]:
        """The inner scheduler's state."""
        return self._inner.state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Passed on."""
        self._inner.load(state)
