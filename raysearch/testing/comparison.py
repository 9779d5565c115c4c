"""Is one method better than another? One-sided, over seeds, by hypervolume at equal cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raysearch.schedulers.base import Deciding
from raysearch.searchers.base import Suggesting
from raysearch.simulation import simulate
from raysearch.testing.toys import Toy, merit

Make = Callable[[Toy, int], tuple[Suggesting, Deciding]]
"""From a problem and a seed to a fresh searcher and scheduler."""


@dataclass(frozen=True)
class Comparison:
    """The hypervolumes of two methods, one a seed, and the one-sided p-value that ``a`` is better."""

    a: tuple[float, ...]
    b: tuple[float, ...]
    p: float


def compare(
    make_a: Make, make_b: Make, toy: Toy, *, budget: float, seeds: int, workers: int = 1
) -> Comparison:
    """Run both methods on a problem until the same cost is spent, once a seed, and compare what they found.

    Args:
        make_a: the method that should be better.
        make_b: the method to beat.
        toy: the problem.
        budget: cost of a run (a step costs 1 in the toys given here).
        seeds: 0, 1, ... up to this; >= 2.
        workers: how many trials run at once.

    Raises:
        ValueError: fewer than two seeds.
    """

    def found(make: Make) -> tuple[float, ...]:
        runs = (
            simulate(toy.problem, *make(toy, seed), workers=workers, max_cost=budget) for seed in range(seeds)
        )
        return tuple(merit(toy, run) for run in runs)

    a, b = found(make_a), found(make_b)
    return Comparison(a, b, better(a, b))


def better(a: Sequence[float], b: Sequence[float]) -> float:
    """The one-sided p-value that figures like ``a`` are higher than those like ``b`` (Mann-Whitney U).

    Small means that ``a`` is better: below 0.05 by the usual reading. Equal samples give about 0.5.

    Args:
        a: one figure a seed, higher is better (such as hypervolume at equal cost).
        b: the same of the other method; the lengths may differ.

    Raises:
        ValueError: fewer than two figures in a or b, or one that is NaN.
    """
    from scipy.stats import mannwhitneyu  # type: ignore[import-untyped]

    for name, figures in (("a", a), ("b", b)):
        if len(figures) < 2:
            raise ValueError(
                f"{name} has {len(figures)} figures: a comparison needs at least 2 seeds, better 20"
            )
        if any(math.isnan(figure) for figure in figures):
            raise ValueError(f"{name} has a figure that is NaN: leave that seed out of both")
    return float(mannwhitneyu(a, b, alternative="greater").pvalue)
