"""Upper bounds on gain - multiplier * cost: never below what a fine grid finds, and near it."""

from __future__ import annotations

import numpy as np
import pytest
from random_problem import random_problem

from raysearch.allocation.exact.bank import CELLS
from raysearch.allocation.exact.bounds import Peaks

MULTIPLIERS = np.array([0.0, 0.5, 2.0, 8.0])


@pytest.mark.parametrize("seed", range(6))
def test_bounds_are_above_a_fine_grid_and_next_to_it(seed: int) -> None:
    problem = random_problem(seed, 3)
    peaks = Peaks(problem.gain, problem.sizes, np.linspace(problem.low, problem.high, CELLS + 1))
    fine = np.linspace(problem.low, problem.high, 40_001)
    values = problem.gain(fine) - MULTIPLIERS[:, None, None] * problem.sizes(fine)
    bounds = peaks(MULTIPLIERS)
    assert bounds.shape == (4, 3)
    assert (bounds >= values.max(axis=1)).all()
    assert (bounds - values.max(axis=1)).max() < 1e-3  # what the grid misses beside a kink


def test_without_a_price_the_bound_is_the_largest_gain() -> None:
    problem = random_problem(0, 3)
    peaks = Peaks(problem.gain, problem.sizes, np.linspace(problem.low, problem.high, CELLS + 1))
    np.testing.assert_allclose(peaks(np.zeros(1))[0], problem.gain(problem.low), rtol=1e-9)


def test_many_multipliers_at_once_are_each_by_itself() -> None:
    problem = random_problem(1, 2)
    peaks = Peaks(problem.gain, problem.sizes, np.linspace(problem.low, problem.high, CELLS + 1))
    many = np.linspace(0, 5, 50)
    np.testing.assert_array_equal(peaks(many)[7], peaks(many[7:8])[0])
