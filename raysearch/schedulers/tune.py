"""Makes any pure scheduler a scheduler of Ray Tune.

What Tune 2.60 needs is kept here: no single metric, no buffered results, no scan over all trials when a
pending one is to be started, and an end for the trials that stay paused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raysearch.schedulers.base import Deciding, Decision, Finishing, Outcome, Promoting

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

    Where the scheduler pauses trials, the trainable must save checkpoints (a function with every report):
    a trial that is promoted goes on from its last one. Trials that are still paused when nothing else runs
    and the searcher has nothing to suggest are stopped. Leave ``max_concurrent_trials`` unset then: paused
    trials keep its slots, so the search would go on only when all of them had been stopped.

    Args:
        scheduler: decides from ``(trial, step, values)``; sees every numeric entry of a result as a value.
        step: the entry of a result that holds its step. A result without it is not decided on.

    An exception in ``on_trial_complete`` would be swallowed by Tune, one trial at a time; it is kept in
    ``error`` for the caller of ``Tuner.fit`` to raise.
    """

    supports_buffered_results = False

    def __init__(self, scheduler: Deciding, *, step: str = "training_iteration") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.scheduler = scheduler
        self.step = step
        self.error: Exception | None = None
        self._stopped: set[str] = set()
        # Those that are under way, those that were paused (and at which step), and the one that comes next.
        self._active: set[str] = set()
        self._paused: dict[str, tuple[Trial, int]] = {}
        self._promoted: Trial | None = None

    @property
    def metric(self) -> None:
        """None: several objectives are read, and Tune must not look for one."""
        return None

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Ignores Tune's single metric and mode."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Called for a new trial, and for one that is tried again after its worker died."""
        self._active.add(trial.trial_id)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The trial that was promoted, until it runs; None otherwise: pending trials start without it."""
        if self._promoted is None:
            self._promoted = self._promote()
        if self._promoted is None and not self._active:
            self._promoted = self._finish()  # Tune asks the searcher first: it has no more trials
        trial = self._promoted
        if trial is None:
            self._stop_leftovers(tune_controller)
        elif trial.status in (Trial.PAUSED, Trial.PENDING):
            return trial
        elif not trial.is_saving:  # else it was promoted before its pause had taken effect
            self._promoted = None
        return None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's decision on one result."""
        if trial is self._promoted:
            self._promoted = None  # it runs
        step = result.get(self.step, math.nan)
        if math.isnan(step):
            return str(TrialScheduler.CONTINUE)
        if trial.trial_id in self._paused:
            # Its worker died while it was being paused, and it repeats the reports since its checkpoint.
            again = step >= self._paused[trial.trial_id][1]
            decision = Decision.PAUSE if again else Decision.CONTINUE
        else:
            decision = self.decide(trial.trial_id, int(step), result)
        if decision is Decision.STOP:
            self._stopped.add(trial.trial_id)
            self._end(trial, "stopped")
        elif decision is Decision.PAUSE:
            self._paused[trial.trial_id] = trial, int(step)
            self._active.discard(trial.trial_id)
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
            self._end(trial, "finished")
        except Exception as error:
            self.error = error
            raise

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Called at each retry too, so it ends nothing unless the trial is over."""
        if not trial.should_recover():  # type: ignore[no-untyped-call]
            self._end(trial, "failed")

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is stopped that was waiting: paused, or not begun."""
        self._end(trial, "stopped")

    def _promote(self) -> Trial | None:
        return self._paused_of(self.scheduler.promote()) if isinstance(self.scheduler, Promoting) else None

    def _finish(self) -> Trial | None:
        return self._paused_of(self.scheduler.finish()) if isinstance(self.scheduler, Finishing) else None

    def _paused_of(self, name: str | None) -> Trial | None:
        if name is None or name not in self._paused:
            return None
        self._active.add(name)
        return self._paused.pop(name)[0]

    def _stop_leftovers(self, tune_controller: Any) -> None:
        """Stop the paused trials if nothing is left that could have one promoted."""
        if not self._paused or self._active:
            return
        trials = [trial for trial, _ in self._paused.values()]
        if all(trial.status == Trial.PAUSED for trial in trials):  # none is still being saved
            for trial in trials:
                tune_controller.stop_trial(trial)

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        self._active.discard(trial.trial_id)
        self._paused.pop(trial.trial_id, None)
        self.scheduler.end(trial.trial_id, outcome)
