"""Both ends of a front, held against other methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problem import random_problem

from benchmarks.published import allocation_oracles as oracles
from raysearch.allocation import instances as ready
from raysearch.allocation.exact.ends import most_accurate, smallest

A = ready.instance_a()


def test_the_ends_of_instance_a_are_those_of_other_methods():
    weights, low = np.array(ready.IMPORTANCES_A), oracles.smallest_ratios(np.array(ready.CAPS_A))
    starts = oracles.starts(weights, low, np.random.default_rng(0), 12)
    least, _ = oracles.slsqp_smallest(weights, low, ready.FLOOR_A, starts)
    assert most_accurate(A).value == pytest.approx(weights @ oracles.accuracy(low), abs=1e-6)
    assert smallest(A).value == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("change", [{"total_cap": 1900.0}, {"floor": 80.0}])
def test_there_is_no_smallest_division_where_nothing_is_feasible(change):
    assert smallest(replace(A, total_cap=1955.0)).value == pytest.approx(smallest(A).value)
    with pytest.raises(ValueError, match="the floor cannot be kept within the caps"):
        smallest(replace(A, **change))


@pytest.mark.parametrize("seed", range(1, 13))
def test_no_random_division_beats_a_proven_one(seed):
    """Bounds are bounds, whatever the curves: nothing drawn at random is better than the best."""
    branches = 1 + seed % 3
    problem = random_problem(seed, branches)
    draws = problem.low + np.random.default_rng(seed).random((4000, branches)) * (1 - problem.low)
    sizes, accuracies = problem.total_size(draws), problem.weighted_accuracy(draws)
    budget, floor = float(np.median(sizes)), float(np.median(accuracies))
    best = most_accurate(replace(problem, total_cap=budget))
    least = smallest(replace(problem, floor=floor))
    assert accuracies[sizes <= budget].max() <= best.value + 1e-6
    assert sizes[accuracies >= floor].min() >= least.value - 1e-6
    assert best.gap < 1e-6
    assert least.gap < 1e-6
    assert problem.total_size(best.ratios) <= budget * (1 + 1e-9)
    assert problem.weighted_accuracy(least.ratios) >= floor - 1e-9


@pytest.mark.parametrize("seed", [1, 5])
def test_two_branches_are_divided_as_a_fine_grid_would(seed):
    problem = random_problem(seed, 2)
    axes = [np.linspace(low, 1, 801) for low in problem.low]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    sizes, times, accuracies = (
        f(grid) for f in (problem.total_size, problem.total_time, problem.weighted_accuracy)
    )
    limited = replace(
        problem,
        latency="sequential",
        total_cap=float(np.quantile(sizes, 0.4)),
        latency_cap=float(np.median(times)),
    )
    times = limited.total_time(grid)
    inside = (sizes <= limited.total_cap) & (times <= limited.latency_cap)
    found = most_accurate(limited)
    assert accuracies[inside].max() <= found.value + 1e-6
    assert found.value - accuracies[inside].max() < 1.0
    assert limited.violation(found.ratios) == 0
    floored = replace(limited, floor=float(np.quantile(accuracies[inside], 0.7)))
    reaching = sizes[inside & (accuracies >= floored.floor)]
    least = smallest(floored)
    assert reaching.min() - 0.1 < least.value <= reaching.min() + 1e-6
    assert floored.violation(least.ratios) == 0
