"""What the trials that reached the same point showed there, and which of them are the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.pareto import FrontOrder, Standing

# A newcomer is compared with at most so many, the latest: from there on a decision costs the same.
_JUDGED = 10_000


class Rung:
    """The costs and violations of the trials that met one rung, in arrays that grow by doubling.

    Args:
        at: where the rung stands, in steps or in the unit of another resource.
        objectives: how many costs a trial has.
        order: what counts among trials that do not dominate each other.
    """

    def __init__(self, at: float, objectives: int, order: FrontOrder) -> None:
        self.at = at
        self.trials: dict[str, int] = {}
        self._order = order
        self._names: list[str] = []
        self._costs = np.empty((16, objectives))
        self._violations = np.empty(16)
        self._waits = np.zeros(16, dtype=np.bool_)
        # Both are made anew after a trial was added: the trials' order, and the waiting rows that may go on.
        self._standing: Standing | None = None
        self._ready: Iterator[int] | None = None

    def add(self, trial: str, costs: NDArray[np.float64], violation: float) -> None:
        """Take in a trial's costs, shape (m,), and violation."""
        n = len(self._names)
        if n == len(self._violations):
            self._costs = np.concatenate([self._costs, np.empty_like(self._costs)])
            self._violations = np.concatenate([self._violations, np.empty_like(self._violations)])
            self._waits = np.concatenate([self._waits, np.zeros_like(self._waits)])
        self._costs[n], self._violations[n], self._waits[n] = costs, violation, False
        self.trials[trial] = n
        self._names.append(trial)
        self._standing = self._ready = None

    def newest_passes(self, eta: float) -> bool:
        """Whether the trial added last is among the first max(1, n // eta), n at most the latest 10,000."""
        n = len(self._names)
        if n <= _JUDGED:
            return self._stand().among_first(n - 1, self._places(eta))
        costs, violations = self.rows
        latest = Standing(costs[-_JUDGED:], violations[-_JUDGED:], self._order)
        return latest.among_first(_JUDGED - 1, max(1, int(_JUDGED // eta)))

    def hold(self, trial: str) -> None:
        """Let a trial wait here until it may go on."""
        self._waits[self.trials[trial]] = True
        self._ready = None

    def release(self, trial: str) -> None:
        """The trial waits no longer."""
        self._waits[self.trials[trial]] = False

    def promote(self, eta: float, accepted: Callable[[Rung], NDArray[np.bool_]] | None = None) -> str | None:
        """The best waiting trial that by now is among the first max(1, n // eta); it waits no longer.

        Args:
            eta: one in so many.
            accepted: which rows may go on, shape (n,); it is asked again after another trial has come.
        """
        if self._ready is None:
            waits = self._waits[: len(self._names)].copy()
            if accepted is not None and waits.any():
                waits &= accepted(self)
            self._ready = self._stand().first_of(waits, self._places(eta)) if waits.any() else iter(())
        for row in self._ready:
            if self._waits[row]:
                self._waits[row] = False
                return self._names[row]
        return None

    def state(self) -> dict[str, Any]:
        """Plain JSON, in the order in which the trials came."""
        costs, violations = self.rows
        waiting = np.flatnonzero(self._waits[: len(self._names)]).tolist()
        return {
            "at": self.at,
            "trials": list(self._names),
            "costs": costs.tolist(),
            "violations": violations.tolist(),
            "waiting": [self._names[row] for row in waiting],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.trials, self._names = {}, []
        for trial, costs, violation in zip(state["trials"], state["costs"], state["violations"], strict=True):
            self.add(trial, np.asarray(costs), violation)
        for trial in state["waiting"]:
            self.hold(trial)

    @property
    def rows(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The costs, shape (n, m), and violations, shape (n,), in the order in which the trials came."""
        n = len(self._names)
        return self._costs[:n], self._violations[:n]

    def _stand(self) -> Standing:
        if self._standing is None:
            self._standing = Standing(*self.rows, self._order)
        return self._standing

    def _places(self, eta: float) -> int:
        return max(1, int(len(self._names) // eta))
