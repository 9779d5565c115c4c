"""Proven upper bounds on gain - multiplier * cost: chords, plus what curves may rise above them.

Between two points a function lies above its chord by at most its largest second derivative times width^2 / 8,
and by width / 4 times a sudden fall of its slope. Cells that may hold the maximum are cut until that is
nothing.
"""

from __future__ import annotations

import numpy as np

from raysearch.allocation.curves import Floats
from raysearch.allocation.responses import Response

_CUTS = 16  # parts of a cell
_LEVELS = 3
_AT_ONCE = 4_000_000  # numbers of an intermediate array
_ROUNDING = 1e-13  # of the largest figures


class Peaks:
    """Bounds on the maxima over a grid's range.

    Args:
        gain: the gain of each branch.
        cost: the cost of each branch.
        grid: ratios from low to high, shape (g, n).
    """

    def __init__(self, gain: Response, cost: Response, grid: Floats) -> None:
        self._gain, self._cost, self._grid = gain, cost, grid
        self._gains, self._costs = gain(grid), cost(grid)
        self._bends = gain.bends(grid), cost.bends(grid)
        self._kinks = gain.kinks(grid, concave=True), cost.kinks(grid, concave=False)

    def __call__(self, multipliers: Floats) -> Floats:
        """Upper bounds for multipliers of shape (k,), one a branch: (k, n)."""
        chunk = max(1, _AT_ONCE // self._grid.size)
        parts = [self._bounds(multipliers[i : i + chunk]) for i in range(0, len(multipliers), chunk)]
        return np.concatenate(parts)

    def _bounds(self, multipliers: Floats) -> Floats:
        by = multipliers[:, None, None]
        values = self._gains - by * self._costs
        best = values.max(axis=1)
        rounding = _ROUNDING * (np.abs(self._gains[0]) + multipliers[:, None] * np.abs(self._costs[0]))
        width = np.diff(self._grid, axis=0)
        bend, kink = (figure[0] + by * figure[1] for figure in (self._bends, self._kinks))
        over = np.maximum(values[:, 1:], values[:, :-1]) + bend * width**2 / 8 + kink * width / 4
        points, cells, branches = np.nonzero(over > (best + rounding)[:, None])
        left, width = self._grid[cells, branches], width[cells, branches]
        bend, kink = bend[points, cells, branches], kink[points, cells, branches]
        open_bounds = over[points, cells, branches]
        for _ in range(_LEVELS):
            if len(points) > _AT_ONCE // _CUTS:
                break
            inner = left + np.arange(_CUTS + 1)[:, None] / _CUTS * width
            values = self._gain(inner, branches) - multipliers[points] * self._cost(inner, branches)
            np.maximum.at(best, (points, branches), values.max(axis=0))
            width = width / _CUTS
            over = np.maximum(values[1:], values[:-1]) + bend * width**2 / 8 + kink * width / 4
            parts, kept = np.nonzero(over > (best + rounding)[points, branches])
            points, branches, bend, kink = points[kept], branches[kept], bend[kept], kink[kept]
            left, width, open_bounds = inner[parts, kept], width[kept], over[parts, kept]
        bounds: Floats = best + rounding
        np.maximum.at(bounds, (points, branches), open_bounds)
        return bounds
