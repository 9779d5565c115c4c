"""A figure of every branch at once, as a weighted sum of curves, with bounds on how much it bends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from raysearch.allocation.curves import Curve, Floats
from raysearch.allocation.exact.bank import Bank, Indices

_HALVINGS = 64  # of an interval in [0, 1]: down to the last bit


@dataclass(frozen=True)
class _Part:
    weights: Floats  # (n,)
    bank: Bank
    which: Indices  # (n,), a branch's curve in the bank


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
            total += weights * part.bank(ratios, which)
        return total

    def bends(self, grid: Floats) -> Floats:
        """A bound on the second derivative in each cell of a grid (g, n), g > 512; shape (g - 1, n)."""
        return self._bound(grid, "bend")

    def kinks(self, grid: Floats, *, concave: bool) -> Floats:
        """A bound on a sudden fall (``concave``) or rise of the slope in each cell; shape (g - 1, n)."""
        return self._bound(grid, "fall" if concave else "rise")

    def _bound(self, grid: Floats, kind: str) -> Floats:
        bounds = (part.weights * part.bank.bound(kind, grid, part.which) for part in self._parts)
        return np.asarray(sum(bounds))


def _part(weights: Floats, curves: Sequence[Curve]) -> _Part:
    unique = {id(curve): curve for curve in curves}
    place = {key: i for i, key in enumerate(unique)}
    which = np.array([place[id(curve)] for curve in curves])
    return _Part(np.asarray(weights, dtype=np.float64), Bank(tuple(unique.values())), which)


def first_ratios(figure: Callable[[Floats], Floats], limits: Floats, low: Floats, high: Floats) -> Floats:
    """The smallest ratios in [low, high] at which falling figures keep their limits, else high; all (n,)."""
    left, right = low.copy(), high.copy()
    fine = figure(left) <= limits
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        over = figure(middle) > limits
        left, right = np.where(over, middle, left), np.where(over, right, middle)
    return np.where(fine, low, right)
