"""The optimum of instance A's kind, found without raysearch.

The formulas typed anew, polynomial roots, SLSQP, a dynamic programme over a fine grid of accuracies.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from benchmarks.common import Floats

SIZE = np.array([4.020, 276.9, -706.2, 496.7])  # the highest power first
ACCURACY = np.array([-49.40, -28.44, -10.35, 85.28])
TAIL = 0.986  # beyond it the accuracy is 0 soon, and only a ratio of 1 makes sense


def accuracy(p: Floats) -> Floats:
    """A branch's accuracy in per cent."""
    return np.maximum(0.0, np.polyval(ACCURACY, p))


def size(p: Floats) -> Floats:
    """A branch's size in MB."""
    return np.polyval(SIZE, p)


def smallest_ratios(caps: Floats) -> Floats:
    """Where the size polynomial equals each cap, from the roots of the cubic."""
    found = []
    for cap in caps:
        roots = np.roots(SIZE - np.array([0, 0, 0, cap]))
        real = roots[np.abs(roots.imag) < 1e-9].real
        inside = real[(real >= 0) & (real <= 1)]
        found.append(inside.min() if len(inside) else 0.0)
    return np.array(found)


def slsqp_smallest(weights: Floats, low: Floats, floor: float, starts: list[Floats]) -> tuple[float, Floats]:
    """The smallest total size at a weighted accuracy of at least ``floor``, by SLSQP from many starts.

    Branches that start at 1 stay there (the accuracy is flat at 0 near it, so no gradient leads in or out).
    """
    best, ratios = np.inf, low
    limit = {
        "type": "ineq",
        "fun": lambda p: weights @ accuracy(p) - floor,
        "jac": lambda p: weights * np.where(p < TAIL, np.polyval(np.polyder(ACCURACY), p), 0.0),
    }
    for start in starts:
        bounds = [(1.0, 1.0) if s == 1 else (lo, max(lo, TAIL)) for lo, s in zip(low, start, strict=True)]
        result = minimize(
            lambda p: size(p).sum(), start, jac=lambda p: np.polyval(np.polyder(SIZE), p), bounds=bounds,
            constraints=[limit], method="SLSQP", options={"maxiter": 300, "ftol": 1e-14},
        )  # fmt: skip
        if result.fun < best and weights @ accuracy(result.x) >= floor - 1e-9:
            best, ratios = float(result.fun), result.x
    return best, ratios


def starts(weights: Floats, low: Floats, rng: np.random.Generator, count: int) -> list[Floats]:
    """The smallest ratios, and starts with the 0 to 5 least important branches pruned in full."""
    order, found = np.argsort(weights), [low]
    for i in range(count):
        start = low + (np.minimum(TAIL, 0.9) - low).clip(0) * rng.random(len(low))
        start[order[: i % 6]] = 1.0
        found.append(start)
    return found


def programme_smallest(
    weights: Floats, low: Floats, floor: float, step: float = 5e-4, options: int = 600
) -> tuple[float, Floats]:
    """The same by dynamic programming: accuracies rounded down to ``step``, ``options`` ratios a branch.

    Returns:
        A size that can be reached, above the optimum by what the grids cost, and its ratios.
    """
    needed = int(np.ceil(floor / step))
    table = np.full(needed + 1, np.inf)  # the least size by accuracy still to be gained
    table[0] = 0.0
    choices, grids = [], []
    for weight, start in zip(weights, low, strict=True):
        grid = np.linspace(start, 1, options)
        gains, sizes = np.floor(weight * accuracy(grid) / step).astype(int), size(grid)
        new, choice = np.full(needed + 1, np.inf), np.zeros(needed + 1, dtype=np.int32)
        for option, (gain, cost) in enumerate(zip(gains, sizes, strict=True)):
            moved = np.concatenate([np.full(min(gain, needed + 1), table[0]), table])[: needed + 1] + cost
            better = moved < new
            new[better], choice[better] = moved[better], option
        table = new
        choices.append(choice)
        grids.append((grid, gains))
    at, ratios = needed, []
    for choice, (grid, gains) in zip(reversed(choices), reversed(grids), strict=True):
        ratios.append(grid[choice[at]])
        at = max(0, at - gains[choice[at]])
    return float(table[needed]), np.array(ratios[::-1])
