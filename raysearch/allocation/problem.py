"""A pruning budget to divide: branches with curves, importances and caps, and what the whole must keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from raysearch.allocation.curves import Curve, Floats, check_curve
from raysearch.allocation.responses import Response, first_ratios
from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean

LATENCY_RULES = ("parallel", "sequential")
SLACK = 1e-9  # relative: rounding that does not count as a violation
_SUM_TO_ONE = 1e-6


@dataclass(frozen=True)
class Branch:
    """A branch, stage or layer whose pruning ratio is to be chosen.

    Attributes:
        name: what it is called in results.
        importance: its share in the weighted accuracy; over all branches they sum to 1.
        accuracy: the accuracy with only this branch pruned, or with all of them pruned alike, which predicts
            a network of which several are pruned.
        size: its size in MB.
        time: its time in ms, before ``time_scale``; None where latency does not matter.
        cap: its largest size in MB.
        time_scale: what its time is multiplied by.
    """

    name: str
    importance: float
    accuracy: Curve
    size: Curve
    time: Curve | None = None
    cap: float = math.inf
    time_scale: float = 1.0


@dataclass(frozen=True)
class Problem:
    """Branches and what the whole must keep.

    Attributes:
        branches: one or more.
        floor: the smallest importance-weighted accuracy.
        total_cap: the largest total size in MB.
        latency: "parallel" (side by side: the slowest branch counts) or "sequential" (their sum counts).
        latency_cap: the largest latency in ms.
        metric: what the accuracy is, for reports: "accuracy", "r2", "-rmse".

    Raises:
        ValueError: what no division can be asked for, such as a floor above the unpruned accuracy.
    """

    branches: tuple[Branch, ...]
    floor: float = -math.inf
    total_cap: float = math.inf
    latency: str = "parallel"
    latency_cap: float = math.inf
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        _check_branches(self.branches)
        _check_limits(self)

    @classmethod
    def of(
        cls,
        importances: Sequence[float],
        caps: Sequence[float],
        *,
        accuracy: Curve,
        size: Curve,
        time: Curve | None = None,
        time_scales: Sequence[float] | None = None,
        floor: float = -math.inf,
    ) -> Problem:
        """A problem whose branches share their curves, named "0", "1", ...

        Raises:
            ValueError: not as many caps or time scales as importances.
        """
        for name, given in (("caps", caps), ("time_scales", time_scales)):
            if given is not None and len(given) != len(importances):
                raise UserError(
                    f"there are {len(importances)} importances and {len(given)} {name}: give one a branch"
                )
        scales = [1.0] * len(importances) if time_scales is None else time_scales
        branches = tuple(
            Branch(str(i), float(w), accuracy, size, time, float(cap), float(k))
            for i, (w, cap, k) in enumerate(zip(importances, caps, scales, strict=True))
        )
        return cls(branches, floor)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The branches' names."""
        return tuple(b.name for b in self.branches)

    @cached_property
    def importances(self) -> Floats:
        """Shape (n,)."""
        return np.array([b.importance for b in self.branches])

    @cached_property
    def caps(self) -> Floats:
        """The branches' caps in MB, shape (n,)."""
        return np.array([b.cap for b in self.branches])

    @cached_property
    def timed(self) -> bool:
        """Whether every branch has a time curve."""
        return all(b.time is not None for b in self.branches)

    @cached_property
    def accuracy_error(self) -> float:
        """The standard error of a predicted weighted accuracy, if that of each curve is independent."""
        curves = {id(b.accuracy): b.accuracy for b in self.branches}
        shares = dict.fromkeys(curves, 0.0)
        for b in self.branches:
            shares[id(b.accuracy)] += b.importance
        return math.hypot(*(share * curves[key].error for key, share in shares.items()))

    @cached_property
    def accuracies(self) -> Response:
        """Each branch's own accuracy."""
        return Response((np.ones(len(self.branches)), [b.accuracy for b in self.branches]))

    @cached_property
    def gain(self) -> Response:
        """Importance times accuracy: what each branch contributes to the weighted accuracy."""
        return Response((self.importances, [b.accuracy for b in self.branches]))

    @cached_property
    def sizes(self) -> Response:
        """Each branch's size in MB."""
        return Response((np.ones(len(self.branches)), [b.size for b in self.branches]))

    @cached_property
    def times(self) -> Response:
        """Each branch's time in ms, scaled."""
        return self.costs(0.0, 1.0)

    def costs(self, size: float, time: float) -> Response:
        """Each branch's ``size`` * MB + ``time`` * ms."""
        parts = []
        if size:
            parts.append((np.full(len(self.branches), size), [b.size for b in self.branches]))
        if time:
            scales = time * np.array([b.time_scale for b in self.branches])
            parts.append((scales, [b.time for b in self.branches if b.time is not None]))
        return Response(*parts)

    def weighted_accuracy(self, ratios: ArrayLike) -> Floats:
        """The importance-weighted accuracy of ratios of shape (..., n); shape (...)."""
        return np.asarray(self.gain(np.asarray(ratios, dtype=np.float64)).sum(axis=-1))

    def total_size(self, ratios: ArrayLike) -> Floats:
        """The total size in MB of ratios of shape (..., n); shape (...)."""
        return np.asarray(self.sizes(np.asarray(ratios, dtype=np.float64)).sum(axis=-1))

    def total_time(self, ratios: ArrayLike) -> Floats:
        """The latency in ms, by the problem's rule, of ratios of shape (..., n); shape (...)."""
        times = self.times(np.asarray(ratios, dtype=np.float64))
        return np.asarray(times.max(axis=-1) if self.latency == "parallel" else times.sum(axis=-1))

    def violation(self, ratios: ArrayLike) -> Floats:
        """How far the limits are missed, as shares of them, summed; 0 where all are kept; shape (...)."""
        p = np.asarray(ratios, dtype=np.float64)
        sizes = self.sizes(p)
        parts = [_over(sizes, self.caps).sum(axis=-1), _over(sizes.sum(axis=-1), self.total_cap)]
        if math.isfinite(self.latency_cap):
            parts.append(_over(self.total_time(p), self.latency_cap))
        if math.isfinite(self.floor):
            parts.append(_over(-self.weighted_accuracy(p), -self.floor))
        return np.asarray(sum(parts))

    @cached_property
    def low(self) -> Floats:
        """The smallest ratios that the branches' own limits allow, shape (n,)."""
        low = first_ratios(self.sizes, self.caps, self.unpruned, self.high)
        if self.latency == "parallel" and math.isfinite(self.latency_cap):
            limits = np.full(len(low), self.latency_cap)
            low = np.maximum(low, first_ratios(self.times, limits, self.unpruned, self.high))
        return low

    @cached_property
    def high(self) -> Floats:
        """The largest ratios that the curves hold for, shape (n,)."""
        return np.array([min(c.domain[1] for c in _curves(b)) for b in self.branches])

    @cached_property
    def unpruned(self) -> Floats:
        """The smallest ratios that the curves hold for, shape (n,)."""
        return np.array([max(c.domain[0] for c in _curves(b)) for b in self.branches])

    def with_caps(self, caps: ArrayLike) -> Problem:
        """The same with other caps of the branches, in MB."""
        pairs = zip(self.branches, np.asarray(caps, dtype=np.float64), strict=True)
        return replace(self, branches=tuple(replace(b, cap=float(cap)) for b, cap in pairs))


def normalised(importances: Sequence[float], names: Sequence[str] | None = None) -> tuple[list[float], str]:
    """Importances divided by their sum, and a note that says so; the note is empty where they sum to 1.

    Args:
        importances: of the branches.
        names: of the branches, for messages; their places if left out.

    Raises:
        ValueError: one is negative or not finite, or all are 0.
    """
    given = np.asarray(importances, dtype=np.float64)
    for i, importance in enumerate(given.tolist()):
        _check_importance(importance, names[i] if names else str(i))
    if given.sum() == 0:
        raise UserError("all importances are 0: one of them must be above 0")
    shares = (given / given.sum()).tolist()  # also for rounding: a floor may be the unpruned accuracy
    note = f"importances sum to {given.sum():.4g}: divided by their sum"
    return shares, "" if abs(given.sum() - 1) <= _SUM_TO_ONE else note


def _curves(branch: Branch) -> list[Curve]:
    return [c for c in (branch.accuracy, branch.size, branch.time) if c is not None]


def _over(figure: Floats, limit: Floats | float) -> Floats:
    """How far a figure is above its limit, as a share of the limit."""
    excess = np.maximum(figure - limit, 0.0)
    scale = np.abs(np.where(np.isfinite(limit), limit, 1.0))
    share = excess / np.where(scale > 0, scale, 1.0)
    return np.where(share > SLACK, share, 0.0)


def _check_branches(branches: tuple[Branch, ...]) -> None:
    if not branches:
        raise UserError("there are no branches: give one or more")
    if len({b.name for b in branches}) < len(branches):
        raise UserError("two branches have the same name: names must differ")
    checked: set[int] = set()
    for b in branches:
        _check_importance(b.importance, b.name)
        if not (math.isfinite(b.time_scale) and b.time_scale > 0):
            raise UserError(f"branch {b.name!r}: time_scale is {b.time_scale}, it must be a number > 0")
        for kind, curve in (("accuracy", b.accuracy), ("size", b.size), ("time", b.time)):
            if curve is not None and id(curve) not in checked:
                check_curve(curve, f"branch {b.name!r}: the {kind} curve")
                checked.add(id(curve))
        start, end = max(c.domain[0] for c in _curves(b)), min(c.domain[1] for c in _curves(b))
        if start >= end:
            raise UserError(
                f"branch {b.name!r}: its curves have no ratio in common, measure them at the same ones"
            )
        least = float(b.size(end))
        if not b.cap >= least:
            raise UserError(
                f"branch {b.name!r}: cap is {b.cap:g} MB, but pruned in full it still has {least:.4g} MB"
            )
    total = sum(b.importance for b in branches)
    if abs(total - 1) > _SUM_TO_ONE:
        raise UserError(
            f"importances sum to {total:.6g}: they must sum to 1 (allocation.normalised divides them)"
        )


def _check_importance(importance: float, name: str) -> None:
    if not (math.isfinite(importance) and importance >= 0):
        raise UserError(f"branch {name!r}: importance is {importance:g}, it must be a number >= 0")


def _check_limits(problem: Problem) -> None:
    if problem.latency not in LATENCY_RULES:
        raise UserError(f"latency is {problem.latency!r}; {did_you_mean(problem.latency, LATENCY_RULES)}")
    for name in ("floor", "total_cap", "latency_cap"):
        if math.isnan(getattr(problem, name)):
            raise UserError(f"{name} is not a number")
    best = float(problem.weighted_accuracy(problem.unpruned))
    if problem.floor > best + SLACK * abs(best):
        raise UserError(f"floor is {problem.floor:g}, but even unpruned the weighted accuracy is {best:.9g}")
    least = float(problem.total_size(problem.high))
    if problem.total_cap < least:
        raise UserError(
            f"total_cap is {problem.total_cap:g} MB, but pruned in full there are still {least:.4g} MB"
        )
    if math.isfinite(problem.latency_cap):
        if not problem.timed:
            raise UserError("latency_cap needs a time curve for every branch")
        least = float(problem.total_time(problem.high))
        if problem.latency_cap < least:
            raise UserError(
                f"latency_cap is {problem.latency_cap:g} ms, but pruned in full it still takes {least:.4g} ms"
            )
