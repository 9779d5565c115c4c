"""What a model-based rule remembers of all trials: their curves in arrays that grow by doubling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from raysearch.schedulers.extrapolation import Floats, Integers

RUNNING, PAUSED, OVER = 0, 1, 2

T = TypeVar("T", bound=np.generic)


class Curves:
    """Of each trial the best costs so far, the same at the steps of a grid, its step and what became of it.

    Args:
        grid: steps at which curves are kept, shape (g,).
        objectives: how many costs a trial has.
    """

    def __init__(self, grid: Integers, objectives: int) -> None:
        self.grid = grid
        self.rows: dict[str, int] = {}
        self.names: list[str] = []
        self._best = np.full((16, objectives), np.nan)
        self._on_grid = np.full((16, len(grid), objectives), np.nan)
        self._step = np.zeros(16, dtype=np.intp)
        self._fate = np.zeros(16, dtype=np.intp)
        self._feasible = np.ones(16, dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def best(self) -> Floats:
        """Best costs so far, shape (n, m)."""
        return self._best[: len(self)]

    @property
    def on_grid(self) -> Floats:
        """Best costs at the steps of the grid, NaN where not seen, shape (n, g, m)."""
        return self._on_grid[: len(self)]

    @property
    def step(self) -> Integers:
        """The latest step, shape (n,)."""
        return self._step[: len(self)]

    @property
    def fate(self) -> Integers:
        """RUNNING, PAUSED or OVER, shape (n,)."""
        return self._fate[: len(self)]

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Whether the latest report kept all constraints that count, shape (n,)."""
        return self._feasible[: len(self)]

    def take(self, trial: str, step: int, costs: Floats, feasible: bool) -> int:
        """Take in a report with finite costs, shape (m,); the trial's row."""
        row = self.rows.get(trial)
        if row is None:
            row = self.rows[trial] = len(self)
            if row == len(self._step):
                self._grow()
            self.names.append(trial)
        between = (self.grid > self._step[row]) & (self.grid <= step)
        self._best[row] = np.fmin(self._best[row], costs)
        self._on_grid[row, between] = self._best[row]
        self._step[row], self._feasible[row] = step, feasible
        self._fate[row] = RUNNING
        return row

    def state(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "names": list(self.names),
            "best": self.best.tolist(),
            "on_grid": self.on_grid.tolist(),
            "step": self.step.tolist(),
            "fate": self.fate.tolist(),
            "feasible": self.feasible.tolist(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.names = list(state["names"])
        self.rows = {trial: row for row, trial in enumerate(self.names)}
        while len(self._step) < len(self.names):
            self._grow()
        if self.names:
            n = len(self.names)
            self._best[:n], self._on_grid[:n] = state["best"], state["on_grid"]
            self._step[:n], self._fate[:n], self._feasible[:n] = (
                state["step"],
                state["fate"],
                state["feasible"],
            )

    def _grow(self) -> None:
        self._best, self._on_grid = _doubled(self._best, np.nan), _doubled(self._on_grid, np.nan)
        self._step, self._fate = _doubled(self._step, 0), _doubled(self._fate, RUNNING)
        self._feasible = _doubled(self._feasible, True)


def _doubled(array: NDArray[T], fill: float) -> NDArray[T]:
    return np.concatenate([array, np.full_like(array, fill)])
