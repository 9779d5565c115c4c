"""Dividing one budget over branches whose gains and costs add up: near-optimal points with proven bounds.

The Lagrangian relaxation is solved on a grid (``Hulls``), then on ever finer grids around its two solutions;
what is left of the budget moves one branch between them. By weak duality each point carries a bound on what
any division could reach (Everett 1963); curves need not be concave for that, only the gap grows if they are
not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.bank import CELLS
from raysearch.allocation.exact.bounds import Peaks
from raysearch.allocation.exact.hulls import Hulls
from raysearch.allocation.responses import Response

_OFFSETS = np.linspace(-2, 2, 17)  # of the finer grids, in cells of the coarser one
_LEVELS = 5
_STEPS = 30  # halvings of a multiplier's interval
_HALVINGS = 60  # of a ratio's interval


@dataclass(frozen=True)
class Division:
    """Ratios for k targets.

    Attributes:
        ratios: shape (k, n).
        values: the total gain reached within each budget, or the total cost that each floor takes, (k,).
        bounds: no division has a larger gain, or a smaller cost, than this, (k,).
        deficits: how much of the distance to the bound each branch is to blame for, in gain, (k, n).
    """

    ratios: Floats
    values: Floats
    bounds: Floats
    deficits: Floats

    @property
    def gaps(self) -> Floats:
        """How far each value may be from the optimum, (k,)."""
        return np.abs(self.bounds - self.values)


class Separable:
    """Gains and costs of n branches that add up, each falling with its branch's ratio.

    Args:
        gain: the gain of each branch.
        cost: the cost of each branch.
        low: the smallest ratios, shape (n,).
        high: the largest ratios, shape (n,).
    """

    def __init__(self, gain: Response, cost: Response, low: Floats, high: Floats) -> None:
        self.gain, self.cost, self.low, self.high = gain, cost, low, high

    def best_gain(self, budgets: Floats) -> Division:
        """The largest gains at total costs of at most ``budgets`` (k,), none below the cost at ``high``."""
        return self._divide(np.atleast_1d(budgets), "cost")

    def least_cost(self, floors: Floats) -> Division:
        """The smallest costs at total gains of at least ``floors`` (k,), each at most the gain at ``low``."""
        return self._divide(np.atleast_1d(floors), "gain")

    def _divide(self, targets: Floats, on: str) -> Division:
        before, after, multipliers = self._hulls.around(targets, on)
        branches = np.arange(len(self.low))
        below, above = self._grid[before, branches], self._grid[after, branches]
        width = (self.high - self.low) / CELLS
        for _ in range(_LEVELS):
            near = np.concatenate([p[:, None] + _OFFSETS[:, None] * width for p in (below, above)], axis=1)
            near = np.clip(near, self.low, self.high)
            below, above, multipliers = self._bisected(near, multipliers, targets, on)
            width = width * (_OFFSETS[1] - _OFFSETS[0])
        ratios = self._filled(below, above, targets, on)
        slack = self.low if on == "cost" else self.high  # where the target does not bind
        free = (
            self._measure(slack, on).sum() <= targets
            if on == "cost"
            else self._measure(slack, on).sum() >= targets
        )
        ratios[free] = slack
        return self._certified(ratios, np.where(free, 0.0, multipliers), targets, on)

    def _bisected(
        self, near: Floats, multipliers: Floats, targets: Floats, on: str
    ) -> tuple[Floats, Floats, Floats]:
        """The best of the candidates (k, m, n) on either side of the multiplier that meets the targets."""
        gain, cost = (np.moveaxis(figure(near), 1, 2).copy() for figure in (self.gain, self.cost))
        near, measure = np.moveaxis(near, 1, 2), cost if on == "cost" else gain
        rows, branches = np.arange(len(targets))[:, None], np.arange(near.shape[1])
        low, high = np.zeros(len(targets)), 4 * multipliers
        below, above = cost.argmin(axis=2), gain.argmax(axis=2)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            best = (gain - middle[:, None, None] * cost).argmax(axis=2)
            total = measure[rows, branches, best].sum(axis=1)
            short = total <= targets if on == "cost" else total < targets
            low, high = np.where(short, low, middle), np.where(short, middle, high)
            below = np.where(short[:, None], best, below)
            above = np.where(short[:, None], above, best)
        return near[rows, branches, below], near[rows, branches, above], (low + high) / 2

    def _filled(self, below: Floats, above: Floats, targets: Floats, on: str) -> Floats:
        """Branches moved from ``below`` to ``above``, small steps first, one only as far as it may."""
        base = self._measure(below, on)
        rises = np.maximum(self._measure(above, on) - base, 0)
        order = np.argsort(rises, axis=1, kind="stable")
        reached = base.sum(axis=1)[:, None] + np.cumsum(np.take_along_axis(rises, order, axis=1), axis=1)
        place = np.minimum((reached <= targets[:, None]).sum(axis=1), below.shape[1] - 1)
        rank = np.argsort(order, axis=1)
        ratios = np.where(rank < place[:, None], above, below)
        rows = np.arange(len(targets))
        moved = order[rows, place]
        rest = self._measure(ratios, on)
        room = targets - (rest.sum(axis=1) - rest[rows, moved])
        left, right = above[rows, moved], below[rows, moved]
        for _ in range(_HALVINGS):
            middle = (left + right) / 2
            over = (self.cost if on == "cost" else self.gain)(middle, moved) > room
            left, right = np.where(over, middle, left), np.where(over, right, middle)
        ratios[rows, moved] = right if on == "cost" else left
        return ratios

    def _certified(self, ratios: Floats, multipliers: Floats, targets: Floats, on: str) -> Division:
        """The division with its bounds by weak duality."""
        gain, cost = self.gain(ratios), self.cost(ratios)
        peaks = self._peaks(multipliers)
        deficits = peaks - (gain - multipliers[:, None] * cost)
        total = peaks.sum(axis=1)
        if on == "cost":
            return Division(ratios, gain.sum(axis=1), total + multipliers * targets, deficits)
        bounds = np.full(len(targets), float(self.cost(self.high).sum()))
        np.divide(targets - total, multipliers, out=bounds, where=multipliers > 0)
        return Division(ratios, cost.sum(axis=1), bounds, deficits)

    def _measure(self, ratios: Floats, on: str) -> Floats:
        return self.cost(ratios) if on == "cost" else self.gain(ratios)

    @cached_property
    def _grid(self) -> Floats:
        """The ratios of each branch's grid, (cells + 1, n)."""
        return np.linspace(self.low, self.high, CELLS + 1)

    @cached_property
    def _hulls(self) -> Hulls:
        return Hulls(self.gain(self._grid), self.cost(self._grid))

    @cached_property
    def _peaks(self) -> Peaks:
        return Peaks(self.gain, self.cost, self._grid)
