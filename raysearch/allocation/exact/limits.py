"""The relaxed problem for branch and bound, with one limit on a total or with two.

Two limits (a size cap or a floor, and a cap on summed times) are merged into one by a weight. Whatever the
weight, the merged problem's optimum bounds the true one (surrogate duality, Greenberg and Pierskalla 1970,
for two budgets; Lagrangian duality for a floor and a budget); the weight that keeps both is found by
bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.branching import TOLERANCE, Relax, Relaxed
from raysearch.allocation.exact.separable import Division, Separable
from raysearch.allocation.problem import SLACK, Problem
from raysearch.allocation.responses import Response

_STEPS = 30  # 2 at the ends of the weight's interval, then halvings
_REPAIRS = 60  # halvings

_Solved = Callable[[float], tuple[Division, Floats, float]]
"""From the weight to the merged optimum, a division that keeps both limits, and a bound on the loss."""


def within_budget(gain: Response, cost: Response, budget: float) -> Relax:
    """The largest gain at a total cost of at most ``budget``."""

    def relax(low: Floats, high: Floats) -> Relaxed | None:
        if float(cost(high).sum()) > budget * (1 + SLACK):
            return None
        return _relaxed(Separable(gain, cost, low, high).best_gain(np.array([budget])), -1.0)

    return relax


def above_floor(gain: Response, cost: Response, floor: float) -> Relax:
    """The smallest cost at a total gain of at least ``floor``."""

    def relax(low: Floats, high: Floats) -> Relaxed | None:
        if float(gain(low).sum()) < floor:
            return None
        return _relaxed(Separable(gain, cost, low, high).least_cost(np.array([floor])), 1.0)

    return relax


def within_budgets(problem: Problem, enough: float | None = None) -> Relax:
    """The largest weighted accuracy within the total cap and the cap on summed times.

    Args:
        problem: the branches and the caps.
        enough: stop as soon as it is known whether this accuracy can be had.
    """
    decisive = math.nan if enough is None else -enough
    size_unit, time_unit = _units(problem)

    def relax(low: Floats, high: Floats) -> Relaxed | None:
        if _over(problem, high, SLACK):
            return None
        if not _over(problem, low):
            best = -float(problem.weighted_accuracy(low))
            return Relaxed(low, best, best, 0, float(low[0]))

        def solved(weight: float) -> tuple[Division, Floats, float]:
            by_size, by_time = (1 - weight) / size_unit, weight / time_unit
            budget = by_size * problem.total_cap + by_time * problem.latency_cap
            cost = problem.costs(by_size, by_time)
            found = Separable(problem.gain, cost, low, high).best_gain(np.array([budget]))
            return found, _repaired(problem, found.ratios[0], high), -float(found.bounds[0])

        def loss(ratios: Floats) -> float:
            return -float(problem.weighted_accuracy(ratios))

        return _balanced(problem, solved, high, loss, decisive)

    return relax


def above_floor_in_time(problem: Problem, floor: float) -> Relax:
    """The smallest total size at a weighted accuracy of at least ``floor``, within the cap on latency."""
    size_unit, time_unit = _units(problem)

    def loss(ratios: Floats) -> float:
        late = problem.total_time(ratios) > problem.latency_cap * (1 + SLACK)
        return math.inf if late else float(problem.total_size(ratios))

    def relax(low: Floats, high: Floats) -> Relaxed | None:
        if float(problem.weighted_accuracy(low)) < floor:
            return None
        targets = np.array([floor])
        fastest = Separable(problem.gain, problem.times, low, high).least_cost(targets)
        if fastest.bounds[0] > problem.latency_cap * (1 + SLACK):
            return None

        def solved(weight: float) -> tuple[Division, Floats, float]:
            by_size, by_time = (1 - weight) / size_unit, weight / time_unit
            cost = problem.costs(by_size, by_time)
            found = Separable(problem.gain, cost, low, high).least_cost(targets)
            bound = (float(found.bounds[0]) - by_time * problem.latency_cap) / max(by_size, 1e-9 / size_unit)
            return found, min(found.ratios[0], fastest.ratios[0], key=loss), bound

        return _balanced(problem, solved, fastest.ratios[0], loss)

    return relax


def _units(problem: Problem) -> tuple[float, float]:
    """The largest total size and time, by which the two are weighed; caps may be 0."""
    return float(problem.total_size(problem.low)) or 1.0, float(problem.total_time(problem.low)) or 1.0


def _balanced(
    problem: Problem,
    solved: _Solved,
    start: Floats,
    loss: Callable[[Floats], float],
    decisive: float = math.nan,
) -> Relaxed:
    """The best over the weights of two limits.

    Args:
        problem: what the ratios belong to.
        solved: the problem merged by a weight of the times.
        start: a division that keeps the limits, if any is known.
        loss: of a division that keeps the limits.
        decisive: a loss; it is enough to know on which side of it the smallest one lies.
    """
    low, high = 0.0, 1.0
    sides: dict[bool, Division] = {}  # the nearest solutions that are too slow, and that are not
    best, bound = start, -math.inf
    for step in range(_STEPS):
        weight = step if step < 2 else (low + high) / 2
        division, kept, found = solved(weight)
        bound = max(bound, found)
        best = min(best, kept, key=loss)
        late = bool(problem.total_time(division.ratios[0]) > problem.latency_cap * (1 + SLACK))
        sides[late] = division
        decided = loss(best) <= decisive or bound > decisive or loss(best) - bound <= TOLERANCE
        if decided or (step < 2 and late == bool(step)):  # one of the limits does not bind
            break
        if step >= 2:
            low, high = (weight, high) if late else (low, weight)
    one, other = sides.get(True, division), sides.get(False, division)
    blame = np.abs(problem.gain(one.ratios) - problem.gain(other.ratios)) + one.deficits + other.deficits
    branch = int(blame[0].argmax())
    at = float((one.ratios[0, branch] + other.ratios[0, branch]) / 2)
    return Relaxed(best, loss(best), bound, branch, at)


def _relaxed(found: Division, sign: float) -> Relaxed:
    """The one division of a batch; ``sign`` is -1 where its value is to be large."""
    branch = int(found.deficits[0].argmax())
    loss, bound = sign * float(found.values[0]), sign * float(found.bounds[0])
    return Relaxed(found.ratios[0], loss, bound, branch, float(found.ratios[0, branch]))


def _over(problem: Problem, ratios: Floats, slack: float = 0.0) -> bool:
    """Whether the total cap or the cap on summed times is broken by more than a share ``slack``."""
    size, time = problem.total_size(ratios), problem.total_time(ratios)
    return bool(size > problem.total_cap * (1 + slack) or time > problem.latency_cap * (1 + slack))


def _repaired(problem: Problem, ratios: Floats, high: Floats) -> Floats:
    """Moved towards the largest ratios just as far as both caps ask."""
    if not _over(problem, ratios):
        return ratios
    left, right = 0.0, 1.0
    for _ in range(_REPAIRS):
        middle = (left + right) / 2
        over = _over(problem, ratios + middle * (high - ratios))
        left, right = (middle, right) if over else (left, middle)
    return np.asarray(ratios + right * (high - ratios))
