"""The front of a pruning budget: weighted accuracy against total size (and latency), with proven ends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.branching import TOLERANCE, proven
from raysearch.allocation.exact.ends import End, most_accurate, smallest
from raysearch.allocation.exact.limits import within_budget
from raysearch.allocation.exact.separable import Separable
from raysearch.allocation.problem import SLACK, Problem
from raysearch.allocation.relaxation import Relaxation, conflict, relaxations
from raysearch.allocation.responses import Response
from raysearch.basics.failures import UserError
from raysearch.pareto import non_dominated

_CUTS = 10  # of a point between the ends, fewer where there are many fronts in one
_FEWEST = 16  # points at one latency
_HALVINGS = 40  # of a latency's interval
_DIGITS = 8  # figures that agree in these are the same point


@dataclass(frozen=True)
class Allocation:
    """What can be had.

    Attributes:
        problem: what was asked.
        feasible: whether the floor can be kept within the caps.
        front: a row a point, the most accurate first: ``accuracy`` (weighted), ``size_mb``, where times are
            known ``latency_ms``, ``bottleneck`` (the slowest branch), ``bottleneck_ms`` and ``mean_ms`` (over
            branches), ``gap`` (how far the accuracy, in the smallest row the size, may be from the optimum),
            and a branch's ratio as ``ratio/<name>``. Empty where nothing is feasible.
        conflict: where nothing is feasible, limits that cannot all be kept, none of them without blame.
        relaxations: where nothing is feasible, the smallest changes that each make it so.
        closest: the most accurate division within the caps, whether or not it reaches the floor, shape (n,).
    """

    problem: Problem
    feasible: bool
    front: pd.DataFrame
    closest: Floats
    conflict: tuple[str, ...] = ()
    relaxations: tuple[Relaxation, ...] = ()

    @property
    def ratios(self) -> Floats:
        """The ratios of the front's points, shape (k, n)."""
        return self.front[[f"ratio/{name}" for name in self.problem.names]].to_numpy(dtype=np.float64)

    def ratios_of(self, point: int) -> dict[str, float]:
        """The ratio of each branch in one row of the front; row 0 is the most accurate."""
        return dict(zip(self.problem.names, self.ratios[point].tolist(), strict=True))


def allocate(problem: Problem, *, points: int = 128, latencies: int = 1) -> Allocation:
    """Divide a pruning budget.

    Curves add up, so one shared budget is divided by Lagrangian relaxation, with a bound on what is left; the
    two ends are closed by branch and bound to 1e-6, in the units of accuracy and of MB. With ``latencies``
    above 1 (or a cap on summed times) the points between are each the best for a latency (side by side) or
    for a weighted sum of size and time (one after another).

    Args:
        problem: the branches and the limits.
        points: about how many points on the front, at least 2.
        latencies: at how many latencies between the fastest and the slowest the front is traced.

    Raises:
        ValueError: too few points or latencies, or latencies without time curves.
    """
    if points < 2:
        raise UserError(f"points is {points}: a front needs at least 2")
    if latencies < 1 or (latencies > 1 and not problem.timed):
        raise UserError(
            f"latencies is {latencies}: it must be 1, or more where every branch has a time curve"
        )
    best = most_accurate(problem)
    if best.value < problem.floor - SLACK * abs(problem.floor):
        return Allocation(
            problem, False, pd.DataFrame(), best.ratios, conflict(problem), relaxations(problem, best.value)
        )
    least = smallest(problem)
    ratios = [least.ratios[None], best.ratios[None]]
    gaps = [np.array([least.gap]), np.array([best.gap])]
    parts = list(_parts(problem, best, latencies))
    for part, cost in parts:
        share = max(min(points, _FEWEST), points // len(parts))
        found, gap = _between(part, cost, share, _CUTS // len(parts))
        ratios.append(found)
        gaps.append(gap)
    all_ratios, all_gaps = np.concatenate(ratios), np.concatenate(gaps)
    return Allocation(problem, True, _front(problem, all_ratios, all_gaps, latencies > 1), best.ratios)


def describe(problem: Problem, ratios: Floats) -> pd.DataFrame:
    """The figures of divisions of shape (k, n), a row each, as in ``Allocation.front`` (without ``gap``)."""
    columns: dict[str, object] = {
        "accuracy": problem.weighted_accuracy(ratios),
        "size_mb": problem.total_size(ratios),
    }
    if problem.timed:
        times = problem.times(ratios)
        columns |= {
            "latency_ms": problem.total_time(ratios),
            "bottleneck": [problem.names[i] for i in times.argmax(axis=1)],
            "bottleneck_ms": times.max(axis=1),
            "mean_ms": times.mean(axis=1),
        }
    columns |= {f"ratio/{name}": ratios[:, i] for i, name in enumerate(problem.names)}
    return pd.DataFrame(columns)


def _parts(problem: Problem, best: End, latencies: int) -> Iterator[tuple[Problem, Response]]:
    """The problems with one budget each whose fronts together are the front, and their costs."""
    summed = problem.latency == "sequential"
    if latencies == 1 and not (summed and math.isfinite(problem.latency_cap)):
        yield problem, problem.sizes
    elif summed:
        size, time = (float(f(problem.low)) or 1.0 for f in (problem.total_size, problem.total_time))
        for weight in np.linspace(0, 1, max(latencies, _FEWEST)):
            yield problem, problem.costs((1 - weight) / size, weight / time)
    else:
        slowest = float(problem.total_time(best.ratios))
        for cap in np.linspace(slowest, _fastest(problem, slowest), latencies):
            part = _within(problem, float(cap))
            yield part, part.sizes


def _fastest(problem: Problem, slowest: float) -> float:
    """The smallest latency, side by side, at which the floor can be kept without a total cap."""
    low, high = float(problem.total_time(problem.high)), slowest
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        part = _within(problem, middle)
        kept = part.weighted_accuracy(part.low) >= problem.floor
        low, high = (low, middle) if kept else (middle, high)
    return high


def _within(problem: Problem, latency: float) -> Problem:
    """The problem with at most this latency."""
    return replace(problem, latency_cap=min(problem.latency_cap, latency))


def _between(problem: Problem, cost: Response, points: int, cuts: int) -> tuple[Floats, Floats]:
    """Points at evenly spaced budgets, and how far their accuracies may be from the best."""
    separable = Separable(problem.gain, cost, problem.low, problem.high)
    floor = min(problem.floor, float(problem.weighted_accuracy(problem.low)))
    least = float(separable.least_cost(np.array([floor])).values[0])
    most = float(cost(problem.low).sum())
    budgets = np.linspace(least, min(most, problem.total_cap) if cost is problem.sizes else most, points)
    found = separable.best_gain(budgets)
    ratios, gaps = found.ratios, found.gaps
    for i in np.flatnonzero(gaps > TOLERANCE) if cuts else ():
        relax = within_budget(problem.gain, cost, float(budgets[i]))
        closed = proven(relax, problem.low, problem.high, most_cuts=cuts)
        if closed is not None:
            ratios[i], gaps[i] = closed.ratios, closed.gap
    return ratios, gaps


def _front(problem: Problem, ratios: Floats, gaps: Floats, by_latency: bool) -> pd.DataFrame:
    """The rows within all limits that no other row dominates, the most accurate first."""
    table = describe(problem, ratios)
    table.insert(list(table.columns).index(f"ratio/{problem.names[0]}"), "gap", gaps)
    table = table[problem.violation(ratios) == 0]
    metrics = ["accuracy", "size_mb", *(["latency_ms"] if by_latency else [])]
    table = table[~table[metrics].round(_DIGITS).duplicated()]
    costs = table[metrics].round(_DIGITS).to_numpy(dtype=np.float64) * [-1, *[1] * (len(metrics) - 1)]
    table = table[non_dominated(costs, np.zeros(len(costs)))]
    order = table[metrics].round(_DIGITS).sort_values(metrics, ascending=False, kind="stable").index
    return pd.DataFrame(table.loc[order].reset_index(drop=True))
