"""Makes any pure scheduler a scheduler of Ray Tune.

What Tune 2.60 needs is kept here: no single metric, no buffered results, and no scan over all trials when a
pending one is to be started.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raysearch.schedulers.base import Decision, Scheduler

_DECISIONS = {
    Decision.CONTINUE: TrialScheduler.CONTINUE,
    Decision.STOP: TrialScheduler.STOP,
    Decision.PAUSE: TrialScheduler.PAUSE,
}


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """The numeric entries of a flattened result; truth values and text are left out."""
    return {
        key: float(value)
        for key, value in result.items()
        if isinstance(value, Real) and not isinstance(value, bool)
    }


class TuneScheduler(FIFOScheduler):
    """Runs a pure scheduler inside ``ray.tune.Tuner``.

    Args:
        scheduler: decides from ``(trial, step, values)``; sees every numeric entry of a result as a value.
        step: the entry of a result that holds its step. A result without it is not decided on.

    An exception in ``on_trial_complete`` would be swallowed by Tune, one trial at a time; it is kept in
    ``error`` for the caller of ``Tuner.fit`` to raise.
    """

    supports_buffered_results = False

    def __init__(self, scheduler: Scheduler, *, step: str = "training_iteration") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.scheduler = scheduler
        self.step = step
        self.error: Exception | None = None
        self._stopped: set[str] = set()

    @property
    def metric(self) -> None:
        """None: several objectives are read, and Tune must not look for one."""
        return None

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Ignores Tune's single metric and mode."""
        return True

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """None: pending trials start without being chosen, and the default scan costs O(n) a step."""
        return None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's decision on one result."""
        step = result.get(self.step, math.nan)
        if math.isnan(step):
            return str(TrialScheduler.CONTINUE)
        decision = self.decide(trial.trial_id, int(step), result)
        if decision is Decision.STOP:
            self._stopped.add(trial.trial_id)
            self.scheduler.end(trial.trial_id, "stopped")
        return str(_DECISIONS[decision])

    def decide(self, trial: str, step: int, result: Mapping[str, Any]) -> Decision:
        """The pure scheduler's decision."""
        return self.scheduler.decide(trial, step, numbers(result))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Takes in the last result of a trial that ended by itself, and its end."""
        if trial.trial_id in self._stopped:
            self._stopped.discard(trial.trial_id)
            return
        try:
            if self.step in result:
                self.decide(trial.trial_id, int(result[self.step]), result)
            self.scheduler.end(trial.trial_id, "finished")
        except Exception as error:
            self.error = error
            raise

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Called at each retry too, so it ends nothing unless the trial is over."""
        if not trial.should_recover():  # type: ignore[no-untyped-call]
            self.scheduler.end(trial.trial_id, "failed")

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Nothing is kept of a removed trial."""
