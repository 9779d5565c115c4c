"""One pruning ratio for a whole network, where the reward of a ratio may be spiked and discontinuous."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from raysearch.allocation.curves import Curve, Floats, check_curve
from raysearch.allocation.responses import first_ratios
from raysearch.allocation.rewards import ratio_reward
from raysearch.basics import extras
from raysearch.basics.failures import UserError

Evaluate = Callable[[float], tuple[float, float]]
"""From a ratio to its reward, and to how far it breaks the limits: 0 where it keeps them.

A ratio at which either is not finite is worse than any other.
"""

_NARROWEST = 1e-9  # an interval that is not cut any more
_FEWEST = 4


@dataclass(frozen=True)
class BestRatio:
    """The best ratio that a search evaluated: of those that keep the limits, if any does, the best rewarded.

    Attributes:
        ratio: in [0, 1].
        reward: its reward.
        violation: how far it breaks the limits.
        history: all ratios with their rewards and violations in the order of evaluation, shape (k, 3).
    """

    ratio: float
    reward: float
    violation: float
    history: Floats

    @property
    def feasible(self) -> bool:
        """Whether it keeps the limits."""
        return self.violation == 0

    @property
    def evaluations(self) -> int:
        """How many ratios were evaluated."""
        return len(self.history)


@dataclass(frozen=True)
class RatioProblem:
    """One ratio for a network with known curves.

    Attributes:
        accuracy: falls with the ratio.
        size: in MB.
        time: in ms.
        floor: the smallest accuracy.
        cap: the largest size in MB.

    Raises:
        ValueError: a curve that rises or is not finite, or curves without a ratio in common.
    """

    accuracy: Curve
    size: Curve
    time: Curve
    floor: float
    cap: float

    def __post_init__(self) -> None:
        for name in ("accuracy", "size", "time"):
            check_curve(getattr(self, name), f"the {name} curve")
        low, high = self.domain
        if low >= high:
            raise UserError("the curves have no ratio in common, measure them at the same ones")

    @property
    def domain(self) -> tuple[float, float]:
        """The smallest and the largest ratio that all curves hold for."""
        starts, ends = zip(*(c.domain for c in (self.accuracy, self.size, self.time)), strict=True)
        return max(starts), min(ends)

    def __call__(self, ratio: float) -> tuple[float, float]:
        """The study's reward, and the relative distance from the limits; both NaN where no curve holds."""
        if not self.domain[0] <= ratio <= self.domain[1]:
            return math.nan, math.nan
        p = np.array([ratio])
        accuracy, size, time = self.accuracy(p), self.size(p), self.time(p)
        reward = ratio_reward(p, accuracy, size, time, self.floor, self.cap)
        short = max(0.0, self.floor - float(accuracy[0])) / (abs(self.floor) or 1.0)
        return float(reward[0]), short + max(0.0, float(size[0]) - self.cap) / (self.cap or 1.0)

    def breaks(self) -> tuple[float, ...]:
        """The largest ratio that keeps the floor, and the smallest that keeps the cap."""
        low, high = (np.array([end]) for end in self.domain)
        below = np.nextafter(np.array([self.floor]), -np.inf)
        cap = float(first_ratios(self.size, np.array([self.cap]), low, high)[0])
        floor = float(first_ratios(self.accuracy, below, low, high)[0])
        if self.accuracy(floor) < self.floor:
            floor = float(np.nextafter(floor, low[0]))
        return floor, cap


def search_ratio(
    evaluate: Evaluate, *, evaluations: int, breaks: Sequence[float] = (), low: float = 0.0, high: float = 1.0
) -> BestRatio:
    """The best ratio for a number of evaluations, at least as good as an even grid of half as many.

    Half are spent on that very grid and on the known breaks; the rest halve intervals, in turn beside the
    best ratio so far and where the reward jumps most. So a spike between grid points is found where a break
    is known, or where it stands on a jump. A ratio whose reward is not finite counts as one that keeps no
    limit.

    Args:
        evaluate: the reward and the violation of a ratio.
        evaluations: how many ratios to evaluate, at least 4 more than there are breaks.
        breaks: ratios from ``low`` to ``high`` where the reward is known to jump.
        low: the smallest ratio.
        high: the largest ratio.

    Raises:
        ValueError: too few evaluations, an empty interval, a break outside it, or no finite reward anywhere.
    """
    if not low < high:
        raise UserError(f"low is {low} and high is {high}: low must be below high")
    outside = [ratio for ratio in breaks if not low <= ratio <= high]
    if outside:
        raise UserError(f"breaks holds {outside[0]}: they must lie from low, {low}, to high, {high}")
    if evaluations < _FEWEST + len(breaks):
        raise UserError(
            f"evaluations is {evaluations}: with {len(breaks)} breaks it takes {_FEWEST + len(breaks)}"
        )
    trace = _Trace(evaluate)
    for ratio in (*np.linspace(low, high, evaluations // 2).tolist(), *breaks):
        trace.visit(ratio)
    while len(trace.history) < evaluations:
        interval = trace.beside_best() if len(trace.history) % 2 else trace.jump()
        interval = interval or trace.beside_best() or trace.jump()
        if interval is None:
            break
        trace.visit(sum(interval) / 2)
    return trace.best()


def cma_es_ratio(
    evaluate: Evaluate,
    *,
    start: float = 0.5,
    sigma: float = 0.4,
    population: int = 20,
    iterations: int = 100,
    seed: int = 1,
) -> BestRatio:
    """CMA-ES on the reward alone, as in the study of instance B: a method to compare with.

    Raises:
        ImportError: without the cma package.
        ValueError: no finite reward anywhere.
    """
    cma = extras.load("cma", "cma")
    rng = np.random.default_rng(seed)
    options = {
        "popsize": population,
        "maxiter": iterations,
        "randn": lambda *shape: rng.standard_normal(shape),
        "seed": np.nan,  # leaves numpy's global generator alone
        "verbose": -9,
    }
    strategy = cma.CMAEvolutionStrategy([start], sigma, options)
    trace = _Trace(evaluate)
    while not strategy.stop():
        points = strategy.ask()  # in one dimension its own bounds fail: ratios are clipped
        rewards = [trace.visit(float(np.clip(x[0], 0, 1)))[0] for x in points]
        strategy.tell(points, [-r if math.isfinite(r) else math.inf for r in rewards])
    return trace.best()


class _Trace:
    """The ratios evaluated so far."""

    def __init__(self, evaluate: Evaluate) -> None:
        self.history: list[tuple[float, float, float]] = []
        self._evaluate = evaluate
        self._ratios: list[float] = []  # in order, each once
        self._seen: dict[float, tuple[float, float]] = {}

    def visit(self, ratio: float) -> tuple[float, float]:
        """Evaluate a ratio."""
        reward, violation = self._evaluate(ratio)
        self.history.append((ratio, reward, violation))
        if ratio not in self._seen:
            bisect.insort(self._ratios, ratio)
        self._seen[ratio] = (reward, violation)
        return reward, violation

    def best(self) -> BestRatio:
        """The best so far."""
        ratio = max(self._ratios, key=self._merit)
        if not self._is_finite(ratio):
            raise UserError(
                f"no ratio has a finite reward and violation: of {len(self.history)} evaluated the first is "
                f"{self.history[0][1:]} at {self.history[0][0]:g}; mend the function that is searched"
            )
        return BestRatio(ratio, *self._seen[ratio], np.array(self.history))

    def beside_best(self) -> tuple[float, float] | None:
        """The wider interval beside the best ratio; None where both are too narrow."""
        at = self._ratios.index(max(self._ratios, key=self._merit))
        near = self._ratios[max(0, at - 1) : at + 2]
        return self._widest(list(pairwise(near)), lambda left, right: right - left)

    def jump(self) -> tuple[float, float] | None:
        """The interval where the reward or feasibility changes most; None if all are too narrow."""
        rewards = [self._seen[ratio][0] for ratio in self._ratios if self._is_finite(ratio)]
        scale = max(rewards, default=0.0) - min(rewards, default=0.0)

        def change(left: float, right: float) -> float:
            known = self._is_finite(left) and self._is_finite(right)
            by = abs(self._seen[left][0] - self._seen[right][0]) if known else 0.0
            return by + (scale if self._is_feasible(left) != self._is_feasible(right) else 0.0)

        return self._widest(list(pairwise(self._ratios)), change)

    def _merit(self, ratio: float) -> tuple[float, float]:
        """Feasible ratios by reward, above all others by violation; what is not finite is last."""
        reward, violation = self._seen[ratio]
        return (-violation, reward) if self._is_finite(ratio) else (-math.inf, 0.0)

    def _is_finite(self, ratio: float) -> bool:
        return all(map(math.isfinite, self._seen[ratio]))

    def _is_feasible(self, ratio: float) -> bool:
        return self._is_finite(ratio) and self._seen[ratio][1] == 0

    def _widest(
        self, intervals: list[tuple[float, float]], by: Callable[[float, float], float]
    ) -> tuple[float, float] | None:
        wide = [i for i in intervals if i[1] - i[0] > _NARROWEST]
        return max(wide, key=lambda i: by(*i), default=None)
