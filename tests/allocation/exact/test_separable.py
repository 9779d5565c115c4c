"""Dividing one budget: bounds that hold, budgets and floors that are kept, beside dynamic programming."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problem import random_problem

from raysearch.allocation import Problem, parse
from raysearch.allocation.exact.separable import Separable


def separable(problem: Problem) -> Separable:
    return Separable(problem.gain, problem.sizes, problem.low, problem.high)


def best_by_programming(problem: Problem, budget: float, cells: int = 200) -> float:
    """The largest gain of a knapsack: each branch's ratio from a grid, costs rounded up to whole cells."""
    ratios = np.linspace(problem.low, problem.high, 101)
    gains = problem.gain(ratios)
    costs = np.ceil(problem.sizes(ratios) / budget * cells).astype(int)
    best = np.zeros(cells + 1)
    for branch in range(gains.shape[1]):
        new = np.full(cells + 1, -np.inf)
        for gain, cost in zip(gains[:, branch], costs[:, branch], strict=True):
            if cost <= cells:
                new[cost:] = np.maximum(new[cost:], best[: cells + 1 - cost] + gain)
        best = new
    return float(best.max())


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_values_are_reached_within_budgets_and_bounds_hold(seed: int) -> None:
    problem = random_problem(seed, 3)
    least, most = float(problem.total_size(problem.high)), float(problem.total_size(problem.low))
    budgets = least + np.array([0.05, 0.4, 0.8, 1.2]) * (most - least)
    found = separable(problem).best_gain(budgets)
    assert (problem.total_size(found.ratios) <= budgets * (1 + 1e-9)).all()
    np.testing.assert_allclose(problem.weighted_accuracy(found.ratios), found.values)
    draws = problem.low + np.random.default_rng(seed).random((2000, 3)) * (problem.high - problem.low)
    sizes, gains = problem.total_size(draws), problem.weighted_accuracy(draws)
    for budget, bound in zip(budgets, found.bounds, strict=True):
        inside = sizes <= budget
        assert not inside.any() or gains[inside].max() <= bound + 1e-9
    assert (found.values <= found.bounds + 1e-9).all()
    assert (found.deficits >= -1e-9).all()
    assert (found.deficits.sum(axis=1) <= found.gaps + 1e-9).all()


@pytest.mark.parametrize("seed", [2, 3])
def test_the_bound_is_no_less_than_dynamic_programming_finds(seed: int) -> None:
    problem = random_problem(seed, 3)
    budget = 0.6 * float(problem.total_size(problem.low))
    found = separable(problem).best_gain(np.array([budget]))
    assert found.bounds[0] >= best_by_programming(problem, budget) - 1e-9


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_floors_are_kept_at_a_cost_that_the_bound_allows(seed: int) -> None:
    problem = random_problem(seed, 3)
    worst, best = (float(problem.weighted_accuracy(p)) for p in (problem.high, problem.low))
    floors = worst + np.array([0.1, 0.5, 0.9]) * (best - worst)
    found = separable(problem).least_cost(floors)
    assert (problem.weighted_accuracy(found.ratios) >= floors - 1e-9).all()
    np.testing.assert_allclose(problem.total_size(found.ratios), found.values)
    assert (found.bounds <= found.values + 1e-9).all()
    draws = problem.low + np.random.default_rng(seed).random((2000, 3)) * (problem.high - problem.low)
    sizes, gains = problem.total_size(draws), problem.weighted_accuracy(draws)
    for floor, bound in zip(floors, found.bounds, strict=True):
        reaching = gains >= floor
        assert not reaching.any() or sizes[reaching].min() >= bound - 1e-9


def test_equal_concave_branches_are_pruned_alike() -> None:
    curves = {"accuracy": parse("90 - 30 p^2"), "size": parse("10 - 10 p")}
    problem = Problem.of([0.25] * 4, [np.inf] * 4, **curves)
    found = separable(problem).best_gain(np.array([20.0]))
    np.testing.assert_allclose(found.ratios[0], [0.5] * 4, atol=1e-4)
    assert found.values[0] == pytest.approx(90 - 30 * 0.25, abs=1e-6)
    assert found.gaps[0] < 1e-6
