"""Ratios that fall as a branch's importance rises, and beside them the optimum: what the rule costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.ends import most_accurate, smallest
from raysearch.allocation.problem import SLACK, Problem
from raysearch.basics.failures import UserError

_HALVINGS = 60

_Path = Callable[[float], Floats]


@dataclass(frozen=True)
class InverseAllocation:
    """The rule's division and the optimum.

    Attributes:
        problem: what was divided.
        ratios: the rule's, shape (n,).
        scale: the common factor of all ratios, in [0, 1].
        before: the weighted accuracy before scaling.
        accuracy: the weighted accuracy, at least the target.
        size_mb: the total size.
        eased: branches pruned less than the scaled rule asks, the most important first.
        violation: by what share the division breaks the total cap or the cap on latency, which the rule
            does not know; 0 where it keeps them.
        correlation: of ratio and importance; -1 where nothing was eased or capped.
        optimum: the ratios of the smallest division within all caps that reaches the same target, shape (n,).
        optimum_size_mb: its total size.
    """

    problem: Problem
    ratios: Floats
    scale: float
    before: float
    accuracy: float
    size_mb: float
    eased: tuple[str, ...]
    violation: float
    correlation: float
    optimum: Floats
    optimum_size_mb: float

    @property
    def frame(self) -> pd.DataFrame:
        """A row a branch: importance, ratio, accuracy and size by the rule and in the optimum."""
        p = self.problem
        return pd.DataFrame(
            {
                "branch": p.names,
                "importance": p.importances,
                "ratio": self.ratios,
                "accuracy": p.accuracies(self.ratios),
                "size_mb": p.sizes(self.ratios),
                "optimum_ratio": self.optimum,
                "optimum_accuracy": p.accuracies(self.optimum),
                "optimum_size_mb": p.sizes(self.optimum),
            }
        )


def importance_inverse(
    problem: Problem, target: float, *, steepest: float = 0.9, least_scale: float = 0.0
) -> InverseAllocation:
    """Prune each branch by ``steepest`` * (1 - its importance), scaled down as far as a target asks.

    Importances are min-max normalised for the rule. One common scale, the largest that reaches the target,
    multiplies all ratios; each branch's cap is kept. Where ``least_scale`` is not enough the most important
    branches are eased first, as far as their caps allow. A total cap may be kept by the optimum and not by
    the rule: see ``InverseAllocation.violation``.

    Args:
        problem: the branches, their importances and caps; its floor is not looked at.
        target: the weighted accuracy to reach.
        steepest: the ratio of the least important branch before scaling, in (0, 1].
        least_scale: the smallest scale, in [0, 1].

    Raises:
        ValueError: equal importances, an option out of range, or a target that caps do not allow.
    """
    if not 0 < steepest <= 1 or not 0 <= least_scale <= 1:
        raise UserError(
            f"steepest is {steepest} and least_scale {least_scale}: they must lie in (0, 1] and [0, 1]"
        )
    if np.ptp(problem.importances) == 0:
        raise UserError("all importances are equal: the rule needs branches that differ")
    best = most_accurate(problem).value
    if best < target - SLACK * abs(target):
        raise UserError(
            f"target is {target:g}, but within the caps the weighted accuracy is at most {best:.6g}"
        )
    importance = (problem.importances - problem.importances.min()) / np.ptp(problem.importances)
    rule = steepest * (1 - importance)

    def scaled(scale: float) -> Floats:
        return np.asarray(np.clip(scale * rule, problem.low, problem.high))

    scale = _largest(scaled, problem, target, least_scale, 1.0)
    ratios, eased = _eased(problem, scaled(scale), target)
    floored = replace(problem, floor=target)
    optimum = smallest(floored)
    return InverseAllocation(
        problem,
        ratios,
        scale,
        float(problem.weighted_accuracy(scaled(1.0))),
        float(problem.weighted_accuracy(ratios)),
        float(problem.total_size(ratios)),
        tuple(problem.names[i] for i in eased),
        float(floored.violation(ratios)),
        float(np.corrcoef(ratios, importance)[0, 1]) if np.ptp(ratios) else 0.0,
        optimum.ratios,
        optimum.value,
    )


def _largest(at: _Path, problem: Problem, target: float, low: float, high: float) -> float:
    """The largest place in [low, high] on a path of ratios that reaches the target, else ``low``."""
    if problem.weighted_accuracy(at(high)) >= target:
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if problem.weighted_accuracy(at(middle)) >= target else (low, middle)
    return low


def _eased(problem: Problem, ratios: Floats, target: float) -> tuple[Floats, list[int]]:
    """Branches pruned less, the most important first, until the target is reached."""
    eased: list[int] = []
    for branch in np.argsort(-problem.importances, kind="stable"):
        if problem.weighted_accuracy(ratios) >= target:
            break
        if ratios[branch] <= problem.low[branch]:
            continue
        start = ratios

        def at(ratio: float, start: Floats = start, branch: int = int(branch)) -> Floats:
            moved = start.copy()
            moved[branch] = ratio
            return moved

        ratios = at(_largest(at, problem, target, float(problem.low[branch]), float(start[branch])))
        eased.append(int(branch))
    return ratios, eased
