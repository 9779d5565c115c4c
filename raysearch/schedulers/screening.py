"""A rung before training: of several candidates that were pruned, quantised and measured, one is trained.

References:
    Li, B., Wu, B., Su, J., Wang, G., & Lin, L. (2020). EagleEye: fast sub-net evaluation for efficient neural
        network pruning. (what a network is worth before it is trained on)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from raysearch.objectives import Goals
from raysearch.pareto import priority
from raysearch.schedulers.base import Decision, Finishing, Outcome, Promoting, Scheduler

Choose = Callable[[Sequence[str]], str | None]


class Screening:
    """Lets candidates wait after step 0, and one of them train for every ``candidates`` that came.

    Args:
        inner: judges the trials that train; one that it stops at step 0 counts as a candidate that came.
        goals: rank the candidates by what step 0 reported, where nobody chooses.
        candidates: for each trial that trains, >= 1.
        trials: how many may train, those that are exempt among them; None: no limit.
        exempt: whether a trial trains without waiting, by its name.
        choose: picks one of those that wait, or None where it cannot tell; a searcher's.
    """

    def __init__(
        self,
        inner: Scheduler,
        goals: Goals,
        *,
        candidates: int,
        trials: int | None = None,
        exempt: Callable[[str], bool] = lambda trial: False,
        choose: Choose | None = None,
    ) -> None:
        self._inner, self._goals, self._candidates, self._trials = inner, goals, candidates, trials
        self._exempt, self._choose = exempt, choose
        self._seen: set[str] = set()
        self._came = self._training = self._chosen = 0
        self._waiting: dict[str, dict[str, float]] = {}

    def decide(
        self, trial: str, step: int, values: Mapping[str, float], given: Decision | None = None
    ) -> Decision:
        """PAUSE a candidate after step 0, else what the inner scheduler says."""
        if step > 0 or trial in self._seen:
            return self._inner.decide(trial, step, values, given)
        self._seen.add(trial)
        waits = self._candidates > 1 and not self._exempt(trial)
        told = Decision.CONTINUE if given is Decision.PAUSE else given
        decided = self._inner.decide(trial, step, values, told)
        self._came += waits
        decided = given or (Decision.PAUSE if waits and decided is Decision.CONTINUE else decided)
        if decided is Decision.CONTINUE:
            self._training += 1
        elif decided is Decision.PAUSE:
            self._waiting[trial] = dict(values)
        return decided

    def promote(self, given: str | None = None) -> str | None:
        """What the inner scheduler promotes; else, where enough have come, the candidate that is chosen."""
        if given in self._waiting:
            return self._begin(given)
        found = self._inner.promote(given) if isinstance(self._inner, Promoting) else None
        due = self._came >= self._candidates * (self._chosen + 1)
        return found or (self._next() if due else None)

    def left(self) -> dict[str, int]:
        """The inner scheduler's; no candidates."""
        return self._inner.left() if isinstance(self._inner, Finishing) else {}

    def finish(self, given: str | None = None) -> str | None:
        """What the inner scheduler finishes; else a candidate, as long as more may train."""
        if given in self._waiting:
            return self._begin(given)
        found = self._inner.finish(given) if isinstance(self._inner, Finishing) else None
        return found or self._next()

    def end(self, trial: str, outcome: Outcome) -> None:
        """The trial waits no longer."""
        self._waiting.pop(trial, None)
        self._inner.end(trial, outcome)

    def state(self) -> dict[str, Any]:
        """The candidates that came, those that wait, and the inner scheduler's state."""
        return {
            "inner": self._inner.state(),
            "seen": sorted(self._seen),
            "came": self._came,
            "training": self._training,
            "chosen": self._chosen,
            "waiting": {trial: dict(values) for trial, values in self._waiting.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._inner.load(state["inner"])
        self._seen, self._came = set(state["seen"]), state["came"]
        self._training, self._chosen = state["training"], state["chosen"]
        self._waiting = {trial: dict(values) for trial, values in state["waiting"].items()}

    def _next(self) -> str | None:
        if not self._waiting or (self._trials is not None and self._training >= self._trials):
            return None
        waiting = list(self._waiting)
        chosen = self._choose(waiting) if self._choose is not None else None
        return self._begin(chosen or waiting[self._first()])

    def _first(self) -> int:
        """The best of those that wait by what step 0 reported; an unknown metric is worse than any."""
        costs = np.array([self._goals.costs(values) for values in self._waiting.values()])
        costs = np.where(np.isfinite(costs), costs, np.inf)
        violations = [self._goals.violation(values, 0) for values in self._waiting.values()]
        return int(priority(costs, np.array(violations))[0])

    def _begin(self, trial: str) -> str:
        del self._waiting[trial]
        self._training += 1
        self._chosen += 1
        return trial
