"""A figure of every branch at once, as a weighted sum of curves, with bounds on how much it bends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.allocation.curves import Curve, Floats

Indices = NDArray[np.intp]
_Bound = Callable[[Curve, Floats, Floats], Floats]

_HALVINGS = 64  # of an interval in [0, 1]: down to the last bit


@dataclass(frozen=True)
class _Part:
    weights: Floats  # (n,)
    curves: tuple[Curve, ...]  # each once
    which: Indices  # (n,), a branch's curve


class Response:
    """What each of n branches contributes to a total at its ratio, evaluated in bulk.

    Args:
        parts: pairs of n weights, all >= 0, and n curves; a branch's figure is the sum of weight * curve.
    """

    def __init__(self, *parts: tuple[Floats, Sequence[Curve]]) -> None:
        self._parts = [_part(weights, curves) for weights, curves in parts]

    def __call__(self, ratios: Floats, branches: Indices | None = None) -> Floats:
        """The figures at ratios of shape (..., k), the last axis along ``branches``, all n by default."""
        total = np.zeros(ratios.shape)
        for part in self._parts:
            weights, which = part.weights, part.which
            if branches is not None:
                weights, which = weights[branches], which[branches]
            total += weights * _evaluated(part.curves, which, ratios)
        return total

    def bends(self, grid: Floats) -> Floats:
        """A bound on the second derivative in each cell of a grid (g, n); shape (g - 1, n)."""
        return self._bound(grid, lambda curve, left, right: curve.bend(left, right))

    def kinks(self, grid: Floats, *, concave: bool) -> Floats:
        """A bound on a sudden fall (``concave``) or rise of the slope in each cell; shape (g - 1, n)."""
        return self._bound(grid, lambda curve, left, right: curve.kink(left, right, concave=concave))

    def first_ratios(self, limits: Floats, low: Floats, high: Floats) -> Floats:
        """The smallest ratios in [low, high] at which no figure exceeds its limit, else high, (n,)."""
        left, right = low.copy(), high.copy()
        fine = self(left) <= limits
        for _ in range(_HALVINGS):
            middle = (left + right) / 2
            over = self(middle) > limits
            left, right = np.where(over, middle, left), np.where(over, right, middle)
        return np.where(fine, low, right)

    def _bound(self, grid: Floats, of: _Bound) -> Floats:
        total = np.zeros((len(grid) - 1, grid.shape[1]))
        for part in self._parts:
            for i, curve in enumerate(part.curves):
                mine = part.which == i
                total[:, mine] += part.weights[mine] * of(curve, grid[:-1, mine], grid[1:, mine])
        return total


def _part(weights: Floats, curves: Sequence[Curve]) -> _Part:
    unique = {id(curve): curve for curve in curves}
    place = {key: i for i, key in enumerate(unique)}
    which = np.array([place[id(curve)] for curve in curves])
    return _Part(np.asarray(weights, dtype=np.float64), tuple(unique.values()), which)


def _evaluated(curves: tuple[Curve, ...], which: Indices, ratios: Floats) -> Floats:
    """Each column's own curve at its ratios."""
    if len(curves) == 1:
        return curves[0](ratios)
    values = np.empty(ratios.shape)
    for i, curve in enumerate(curves):
        mine = which == i
        values[..., mine] = curve(ratios[..., mine])
    return values
