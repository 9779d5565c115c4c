"""Stopping rules that know how every trial will end: what early stopping could reach at best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.common import REFERENCE, Floats
from raysearch.pareto import hypervolume, non_dominated
from raysearch.schedulers.base import Decision, Outcome

_WORTH = 0.03


class Oracle:
    """Keeps a trial if its final point adds more than .03 of hypervolume to those kept so far.

    Args:
        pool: the final costs of every configuration, shape (n, m); the true front's box normalises.
        after: the step at which it decides.
        row: the entry of a report that holds the configuration's row in the pool.
    """

    def __init__(self, pool: Floats, after: int, row: str = "row") -> None:
        front = pool[non_dominated(pool, np.zeros(len(pool)))]
        self._points = (pool - front.min(axis=0)) / np.ptp(front, axis=0)
        self._after, self._row = after, row
        self._kept = np.empty((0, pool.shape[1]))
        self._volume = 0.0

    def decide(self, trial: str, step: int, values: Mapping[str, float]) -> Decision:
        """STOP after the step what is not worth it, else CONTINUE."""
        if step != self._after:
            return Decision.CONTINUE
        with_it = np.vstack([self._kept, self._points[int(values[self._row])]])
        volume = hypervolume(with_it, np.full(with_it.shape[1], REFERENCE))
        if volume - self._volume <= _WORTH:
            return Decision.STOP
        self._kept, self._volume = with_it, volume
        return Decision.CONTINUE

    def end(self, trial: str, outcome: Outcome) -> None:
        """Nothing is kept of a trial."""

    def state(self) -> dict[str, Any]:
        """What was kept."""
        return {"kept": self._kept.tolist(), "volume": self._volume}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._kept = np.array(state["kept"]).reshape(-1, self._points.shape[1])
        self._volume = state["volume"]
