"""The two ends of a front, proven: the most accurate division within caps, the smallest above the floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.branching import proven
from raysearch.allocation.exact.limits import above_floor, above_floor_in_time, within_budget, within_budgets
from raysearch.allocation.problem import SLACK, Problem
from raysearch.allocation.responses import first_ratios
from raysearch.basics.failures import UserError

_MOST_CUTS = 500
_ROUNDING = 1e-6  # relative: of a floor or a cap that was computed from an end
_IMPOSSIBLE = "the floor cannot be kept within the caps: allocate() says what conflicts"


@dataclass(frozen=True)
class End:
    """One end of the front.

    Attributes:
        ratios: shape (n,).
        value: the weighted accuracy, or the total size in MB.
        gap: how far the value may be from the optimum.
    """

    ratios: Floats
    value: float
    gap: float


def most_accurate(problem: Problem, *, enough: float | None = None) -> End:
    """The largest weighted accuracy within every cap, whether or not it reaches the floor.

    Args:
        problem: the branches and the limits.
        enough: stop as soon as it is known whether this accuracy can be had.
    """
    summed = problem.latency == "sequential" and math.isfinite(problem.latency_cap)
    sized = float(problem.total_size(problem.low)) > problem.total_cap
    if summed and problem.total_time(problem.low) > problem.latency_cap:
        relax = (
            within_budgets(problem, enough)
            if sized
            else within_budget(problem.gain, problem.times, problem.latency_cap)
        )
    elif sized:
        relax = within_budget(problem.gain, problem.sizes, problem.total_cap)
    else:
        gain = problem.gain(problem.low)
        ratios = first_ratios(problem.gain, np.nextafter(gain, -np.inf), problem.low, problem.high)
        return End(ratios, float(gain.sum()), 0.0)  # what costs no accuracy is pruned
    loss = None if enough is None else -enough
    found = proven(relax, problem.low, problem.high, most_cuts=_MOST_CUTS, enough=loss)
    if found is None:  # a problem's caps can be kept: it is checked when made
        raise UserError("the caps cannot be kept")
    return End(found.ratios, -found.loss, found.gap)


def smallest(problem: Problem) -> End:
    """The smallest total size within the caps at a weighted accuracy of at least the floor.

    The total cap needs no search of its own: where any division keeps it, the smallest does.

    Raises:
        ValueError: the floor cannot be kept within the caps.
    """
    best = float(problem.weighted_accuracy(problem.low))
    if problem.floor > best + _ROUNDING * abs(best):
        raise UserError(_IMPOSSIBLE)
    floor = min(problem.floor, best)
    found = proven(
        above_floor(problem.gain, problem.sizes, floor), problem.low, problem.high, most_cuts=_MOST_CUTS
    )
    summed = problem.latency == "sequential" and math.isfinite(problem.latency_cap)
    late = found and summed and problem.total_time(found.ratios) > problem.latency_cap * (1 + SLACK)
    if late:
        relax = above_floor_in_time(problem, floor)
        found = proven(relax, problem.low, problem.high, most_cuts=_MOST_CUTS)
    if found is None or not math.isfinite(found.loss):
        raise UserError(_IMPOSSIBLE)
    if found.loss - found.gap > problem.total_cap * (1 + _ROUNDING):
        raise UserError(_IMPOSSIBLE)
    return End(found.ratios, found.loss, found.gap)
