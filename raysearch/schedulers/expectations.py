"""The front that the trials so far are expected to reach, and what one more may add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysearch.pareto import non_dominated, ranks
from raysearch.schedulers.curves import Curves
from raysearch.schedulers.extrapolation import Extrapolation, Floats, Integers
from raysearch.schedulers.gains import gains, rate

_REFERENCE = 1.1  # of normalised costs
_MEDIAN = np.zeros(1)
_SCREENING = 2.0  # steps after which a new trial shows what it is worth


class Expectations:
    """Extrapolated ends, the box in which hypervolume is measured, and the points that count in it.

    The box reaches from the ideal point of the expected front to its worst cost in each objective; in one
    known before training, to the worst of all trials, as the front is still to grow there.

    Attributes:
        fresh: the hypervolume that a new trial brings per step.
    """

    def __init__(self, objectives: int) -> None:
        self.fresh = 0.0
        self._curves: list[Extrapolation | None] = [None] * objectives
        self._ideal, self._span = np.zeros(objectives), np.ones(objectives)
        self._rows: Integers = np.zeros(0, dtype=np.intp)
        self._points: Floats = np.zeros((0, objectives))

    def fit(self, curves: Curves, trained: Sequence[bool]) -> None:
        """Learn the curves, the box and what a new trial is worth from all trials so far."""
        self._curves = [
            Extrapolation.fit(curves.grid, curves.on_grid[:, :, i], curves.best[:, i]) if learned else None
            for i, learned in enumerate(trained)
        ]
        rows = np.flatnonzero(curves.feasible)
        self.fresh = 0.0
        if len(rows) == 0:
            return
        ends = self.finals(curves, rows, [_MEDIAN] * len(trained))[:, 0]
        front = ends[non_dominated(ends, np.zeros(len(ends)))]
        self._ideal, worst = front.min(axis=0), front.max(axis=0)
        known = ~np.asarray(trained)
        reach = self._ideal + (ends.max(axis=0) - self._ideal) / _REFERENCE
        worst = np.where(known & (len(trained) > 1), reach, worst)
        worst = np.where(worst > self._ideal, worst, ends.max(axis=0))
        units = np.array([model.scale if model else 1.0 for model in self._curves])
        self._span = np.where(worst > self._ideal, worst - self._ideal, units)
        self.fresh = self._worth_of_a_new_one(ends, float(curves.grid[-1]))

    def finals(self, curves: Curves, rows: Integers, normals: Sequence[Floats]) -> Floats:
        """Possible last costs of some trials, one for each normal deviate, shape (q, k, m)."""
        best, step = curves.best[rows], curves.step[rows]
        columns = [
            model.finals(curves.grid, step, best[:, i], normal)
            if model
            else np.broadcast_to(best[:, i, None], (len(rows), len(normal)))
            for i, (model, normal) in enumerate(zip(self._curves, normals, strict=True))
        ]
        return np.stack(columns, axis=2)

    def place_all(self, rows: Integers, points: Floats) -> None:
        """From now on these trials count, with these costs of shape (n, m); dominated ones count for nothing.

        What only one trial dominates is kept, as it counts for that trial.
        """
        first_two = ranks(points, np.zeros(len(points))) <= 1 if len(points) else np.zeros(0, dtype=np.bool_)
        self._rows, self._points = rows[first_two], points[first_two]

    def place(self, row: int, point: Floats | None) -> None:
        """The trial counts with other costs now, or not at all."""
        others = self._rows != row
        self._rows, self._points = self._rows[others], self._points[others]
        if point is None:
            return
        above = (self._points <= point).all(axis=1)
        if above.sum() < 2:
            self._rows = np.append(self._rows, row)
            self._points = np.vstack([self._points, point])

    def rate(self, ends: Floats, row: int, step: int, last: int) -> float:
        """What the trial may add per step to what others reach; unfinished, it is taken to add nothing.

        Args:
            ends: its equally likely last costs, shape (k, m).
            row: which trial it is.
            step: where it stands.
            last: the last step.
        """
        front = self._points[self._rows != row]
        gain = gains(self._scaled(ends), self._scaled(front), _REFERENCE)
        return float(rate(gain[None], np.array([float(last - step)]), np.array([float(step)]))[0])

    def state(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "fresh": self.fresh,
            "curves": [model and model.state() for model in self._curves],
            "ideal": self._ideal.tolist(),
            "span": self._span.tolist(),
            "rows": self._rows.tolist(),
            "points": self._points.tolist(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.fresh = state["fresh"]
        self._curves = [saved and Extrapolation.load(saved) for saved in state["curves"]]
        self._ideal, self._span = np.array(state["ideal"]), np.array(state["span"])
        self._rows = np.array(state["rows"], dtype=np.intp)
        self._points = np.array(state["points"]).reshape(len(self._rows), len(self._span))

    def _scaled(self, costs: Floats) -> Floats:
        result: Floats = (costs - self._ideal) / self._span
        return result

    def _worth_of_a_new_one(self, ends: Floats, last: float) -> float:
        """As if any of the trials so far came anew: what it alone adds to the front of the others."""
        near = np.flatnonzero(ranks(ends, np.zeros(len(ends))) <= 1)
        points = self._scaled(ends[near])
        alone = np.zeros(len(ends))
        for i in np.flatnonzero(non_dominated(points, np.zeros(len(points)))):
            others = np.delete(points, i, axis=0)
            alone[near[i]] = gains(points[i : i + 1], others, _REFERENCE)[0]
        return float(rate(alone[None], np.array([last]), np.array([_SCREENING]))[0])
