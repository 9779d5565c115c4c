"""The least concave majorants of gain over cost, a branch each, merged into one walk from cheap to good.

With one shared budget the relaxed problem (each branch's curve replaced by its majorant) is solved for every
budget at once by taking the steepest segments of all branches first.
"""

from __future__ import annotations

import numpy as np

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.bank import Indices


class Hulls:
    """The majorants over a grid, and the walk over their segments.

    A majorant's slopes are the antitonic regression of the chords' slopes, weighted by their costs (Barlow,
    Bartholomew, Bremner and Brunk 1972, section 1.2).

    Args:
        gain: what each branch contributes at the points of its grid, from low to high ratios, shape (g, n).
        cost: what it costs there; both fall along the grid.
    """

    def __init__(self, gain: Floats, cost: Floats) -> None:
        size = len(gain)
        self._corners: list[Indices] = []  # of each branch, the grid's indices from the cheapest up
        slopes = []
        for branch in range(gain.shape[1]):
            corners, slope = _majorant(gain[::-1, branch], cost[::-1, branch])
            self._corners.append(size - 1 - corners)
            slopes.append(slope)
        lengths = [len(s) for s in slopes]
        owner = np.repeat(np.arange(gain.shape[1]), lengths)
        flat = np.concatenate(slopes)
        order = np.argsort(-flat, kind="stable")
        self._slopes, self._owners = flat[order], owner[order]
        ranks = np.empty(len(order), dtype=np.intp)
        ranks[order] = np.arange(len(order))
        self._ranks = np.split(ranks, np.cumsum(lengths)[:-1])
        self._walks = {"gain": self._walk(gain, order), "cost": self._walk(cost, order)}

    def around(self, targets: Floats, on: str) -> tuple[Indices, Indices, Floats]:
        """The two steps of the walk between which a total reaches its targets.

        Args:
            targets: totals of ``on``, shape (k,).
            on: "cost" or "gain".

        Returns:
            The grid's index of every branch before and after the step, (k, n) each, and the step's slope,
            (k,).
        """
        walk = self._walks[on]
        reached = np.searchsorted(walk, targets, "right" if on == "cost" else "left")
        steps = reached - 1  # the steps that are taken in full
        steps = np.clip(steps, 0, len(self._slopes) - 1)
        before = np.stack(
            [
                corners[np.searchsorted(rank, steps)]
                for corners, rank in zip(self._corners, self._ranks, strict=True)
            ],
            axis=1,
        )
        after = before.copy()
        for i, step in enumerate(steps):
            owner = self._owners[step]
            after[i, owner] = self._corners[owner][np.searchsorted(self._ranks[owner], step) + 1]
        return before, after, self._slopes[steps]

    def _walk(self, figure: Floats, order: Indices) -> Floats:
        """The total before the first step and after each."""
        rises = [np.diff(figure[corners, branch]) for branch, corners in enumerate(self._corners)]
        start = sum(float(figure[corners[0], branch]) for branch, corners in enumerate(self._corners))
        return start + np.append(0.0, np.cumsum(np.concatenate(rises)[order]))


def _majorant(gain: Floats, cost: Floats) -> tuple[Indices, Floats]:
    """The corners of one majorant, as indices into figures that rise, and its slopes between them."""
    from scipy.optimize import isotonic_regression  # type: ignore[import-untyped]

    least = 1e-12 * max(float(cost[-1] - cost[0]), 1e-12)  # a gain that costs nothing has no finite slope
    widths = np.maximum(np.diff(cost), least)
    fitted = isotonic_regression(np.diff(gain) / widths, weights=widths, increasing=False)
    corners = fitted.blocks
    return corners, fitted.x[corners[:-1]]
