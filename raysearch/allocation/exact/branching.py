"""Closing what gap a division has: branch and bound over the intervals of the branches' ratios.

Only branches whose curves are not concave at the optimum leave a gap, and with one budget there is at most
one such branch at a time (Falk and Soland 1969): its interval is cut where its ratio lies.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from raysearch.allocation.curves import Floats

TOLERANCE = 5e-7  # in the units of accuracy and of size


@dataclass(frozen=True)
class Relaxed:
    """What is known of the divisions with ratios between two limits.

    Attributes:
        ratios: a division that keeps every limit, shape (n,).
        loss: what it loses: the negative accuracy, or the size; infinite where no division was found.
        bound: no division loses less.
        branch: the branch that leaves most of the gap.
        at: where to cut its interval.
    """

    ratios: Floats
    loss: float
    bound: float
    branch: int
    at: float

    @property
    def gap(self) -> float:
        """How far the loss may be from the smallest."""
        return self.loss - self.bound


Relax = Callable[[Floats, Floats], Relaxed | None]
"""From the smallest and the largest ratios, (n,) each; None where nothing between them keeps the limits."""


def proven(
    relax: Relax, low: Floats, high: Floats, *, most_cuts: int, enough: float | None = None
) -> Relaxed | None:
    """The division that loses least, proven to 5e-7 or after so many cuts; None where there is none.

    Args:
        relax: the relaxed problem between given ratios.
        low: the smallest ratios.
        high: the largest ratios.
        most_cuts: at most so many intervals are cut; the gap that is left is stated.
        enough: stop as soon as it is known whether a loss of at most this can be had.
    """
    best = relax(low, high)
    if best is None:
        return None
    numbers = count()
    nodes = [(best.bound, next(numbers), low, high, best)]
    for _ in range(most_cuts):
        decided = enough is not None and (best.loss <= enough or nodes[0][0] > enough)
        if best.loss - nodes[0][0] <= TOLERANCE or decided:
            break
        bound, _, left, right, node = heapq.heappop(nodes)
        for child_low, child_high in _halves(left, right, node):
            found = relax(child_low, child_high)
            if found is not None:
                best = min(best, found, key=lambda r: r.loss)
                entry = (max(bound, found.bound), next(numbers), child_low, child_high, found)
                heapq.heappush(nodes, entry)
        if not nodes:
            break
    return replace(best, bound=min([best.loss, *(node[0] for node in nodes)]))


def _halves(low: Floats, high: Floats, node: Relaxed) -> list[tuple[Floats, Floats]]:
    """The intervals with one of them cut in two."""
    at, (left, right) = node.at, (low[node.branch], high[node.branch])
    if min(at - left, right - at) < 1e-6 * (right - left):
        at = (left + right) / 2
    upper, lower = high.copy(), low.copy()
    upper[node.branch] = lower[node.branch] = at
    return [(low, upper), (lower, high)]
