"""Repairing a division: branches over their caps are pruned more, the others win the lost accuracy back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.branching import proven
from raysearch.allocation.exact.limits import above_floor
from raysearch.allocation.problem import SLACK, Problem
from raysearch.basics.failures import UserError

_MOST_CUTS = 100


@dataclass(frozen=True)
class Redistribution:
    """A repaired division.

    Attributes:
        ratios: shape (n,); every branch keeps its cap.
        raised: the branches that were over their caps.
        lowered: the branches that won accuracy back.
        accuracy: the weighted accuracy.
        size_mb: the total size.
        reached: whether the accuracy asked for was won back.
    """

    ratios: Floats
    raised: tuple[str, ...]
    lowered: tuple[str, ...]
    accuracy: float
    size_mb: float
    reached: bool


def redistribute(problem: Problem, ratios: ArrayLike, *, accuracy: float | None = None) -> Redistribution:
    """Prune oversize branches to their caps and win the lost weighted accuracy back from the others.

    The others are pruned less within their own caps, in the way that adds the fewest MB (to 1e-6, as
    far as 100 cuts of branch and bound prove it).

    Args:
        problem: the branches and their caps; the floor, the total cap and summed times are not looked at.
        ratios: a ratio of each branch, shape (n,).
        accuracy: the weighted accuracy to win back; by default that of ``ratios``.

    Raises:
        ValueError: ratios of another shape, or outside what the curves hold for, or an accuracy that is not
            finite.
    """
    given = np.asarray(ratios, dtype=np.float64)
    if given.shape != problem.low.shape:
        raise UserError(f"ratios have shape {given.shape}: it must be {problem.low.shape}, one a branch")
    if not ((given >= problem.unpruned) & (given <= problem.high)).all():
        raise UserError("ratios lie outside what the curves hold for, which is often [0, 1]")
    if accuracy is not None and not math.isfinite(accuracy):
        raise UserError(f"accuracy is {accuracy}: give the weighted accuracy to win back, a finite number")
    target = float(problem.weighted_accuracy(given)) if accuracy is None else accuracy
    start = np.maximum(given, problem.low)
    low = np.where(given < problem.low, start, problem.low)  # what was raised stays at its cap
    result = start if problem.weighted_accuracy(start) >= target else low
    relax = above_floor(problem.gain, problem.sizes, target)
    found = proven(relax, low, start, most_cuts=_MOST_CUTS) if result is low else None
    result = result if found is None else found.ratios
    reached = float(problem.weighted_accuracy(result))
    return Redistribution(
        result,
        tuple(n for n, raised in zip(problem.names, given < problem.low, strict=True) if raised),
        tuple(n for n, lowered in zip(problem.names, result < given, strict=True) if lowered),
        reached,
        float(problem.total_size(result)),
        reached >= target - SLACK * abs(target),
    )
