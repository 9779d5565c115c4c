"""Many curves as one: values and bounds of all of them in a few operations on arrays."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raysearch.allocation.curves import Curve, Floats

Indices = NDArray[np.intp]

CELLS = 512
_APART = 2.0  # between the domains of two curves, laid side by side
_MARGIN = 1e-9  # of a cell, for rounding


class Bank:
    """Different curves, evaluated together: one call whatever their number.

    Args:
        curves: each once.
    """

    def __init__(self, curves: tuple[Curve, ...]) -> None:
        self.curves = curves
        pieces = [curve.pieces for curve in curves]
        rows = max(p.c.shape[0] for p in pieces)
        self._coefficients = np.hstack([np.pad(p.c, ((rows - p.c.shape[0], 0), (0, 0))) for p in pieces])
        self._starts = np.concatenate([p.x[:-1] for p in pieces])
        counts = np.array([p.c.shape[1] for p in pieces])
        self._first = np.cumsum(counts) - counts
        self._last = np.cumsum(counts) - 1
        self._keys = self._starts + _APART * np.repeat(np.arange(len(curves)), counts)
        self._lower = np.array([curve.lower for curve in curves])
        self._origin = np.array([curve.domain[0] for curve in curves])
        self._width = np.array([np.ptp(curve.domain) / CELLS for curve in curves])

    def __call__(self, ratios: Floats, which: Indices) -> Floats:
        """The values at ratios of shape (..., k), each column by its own curve."""
        piece = self._first[which]
        if len(self._starts) > len(self.curves):
            found = np.searchsorted(self._keys, ratios + _APART * which, "right") - 1
            piece = np.clip(found, piece, self._last[which])
        steps = ratios - self._starts[piece]
        values = np.broadcast_to(self._coefficients[0][piece], ratios.shape).copy()
        for row in self._coefficients[1:]:
            values *= steps
            values += row[piece]
        return np.asarray(np.maximum(values, self._lower[which], out=values))

    def bound(self, kind: str, grid: Floats, which: Indices) -> Floats:
        """The largest "bend", or all "fall" or "rise" of the slope, in each cell of a grid; shape (g - 1, k).

        Args:
            kind: what is bounded.
            grid: ratios from low to high, shape (g, k), no cell wider than 1 / 512 of its curve's domain.
            which: the curve of each column, (k,).
        """
        cells = (grid - self._origin[which]) / self._width[which]
        left = np.clip(np.floor(cells[:-1] - _MARGIN), 0, CELLS - 1).astype(np.intp)
        right = np.clip(np.floor(cells[1:] + _MARGIN), 0, CELLS - 1).astype(np.intp)
        profile = self._profiles[kind]
        if kind != "bend":
            return np.asarray(profile[which, right + 1] - profile[which, left])
        inside = profile[which, (left + right) // 2]  # left and right are at most two apart
        return np.asarray(np.maximum(inside, np.maximum(profile[which, left], profile[which, right])))

    @cached_property
    def _profiles(self) -> dict[str, Floats]:
        """In 512 cells of each curve's domain the bend, (curves, cells); up to each the kinks, one more."""
        edges = [np.linspace(*curve.domain, CELLS + 1) for curve in self.curves]
        cells = [(curve, e[:-1], e[1:]) for curve, e in zip(self.curves, edges, strict=True)]
        return {
            "bend": np.array([curve.bend(left, right) for curve, left, right in cells]),
            "fall": _summed(curve.kink(left, right, concave=True) for curve, left, right in cells),
            "rise": _summed(curve.kink(left, right, concave=False) for curve, left, right in cells),
        }


def _summed(figures: Iterable[Floats]) -> Floats:
    """Sums up to each cell, from 0 on."""
    return np.array([np.append(0.0, np.cumsum(figure)) for figure in figures])
