"""The relaxed problems: their divisions keep the limits, and no division loses less than their bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problem import random_problem

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.limits import above_floor, above_floor_in_time, within_budget, within_budgets
from raysearch.allocation.problem import Problem

SEEDS = range(4)


def problem_of(seed: int) -> tuple[Problem, Floats]:
    """A problem whose times add up, and divisions of it at random."""
    problem = replace(random_problem(seed, 3), latency="sequential")
    draws = np.random.default_rng(seed).random((3000, 3))
    return problem, problem.low + draws * (problem.high - problem.low)


@pytest.mark.parametrize("seed", SEEDS)
def test_within_a_budget(seed: int) -> None:
    problem, draws = problem_of(seed)
    sizes, accuracies = problem.total_size(draws), problem.weighted_accuracy(draws)
    budget = float(np.median(sizes))
    found = within_budget(problem.gain, problem.sizes, budget)(problem.low, problem.high)
    assert found is not None
    assert problem.total_size(found.ratios) <= budget * (1 + 1e-9)
    assert found.loss == pytest.approx(-float(problem.weighted_accuracy(found.ratios)))
    assert found.bound <= -accuracies[sizes <= budget].max() + 1e-9
    least = float(problem.total_size(problem.high))
    assert within_budget(problem.gain, problem.sizes, 0.9 * least)(problem.low, problem.high) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_above_a_floor(seed: int) -> None:
    problem, draws = problem_of(seed)
    sizes, accuracies = problem.total_size(draws), problem.weighted_accuracy(draws)
    floor = float(np.median(accuracies))
    found = above_floor(problem.gain, problem.sizes, floor)(problem.low, problem.high)
    assert found is not None
    assert problem.weighted_accuracy(found.ratios) >= floor - 1e-9
    assert found.loss == pytest.approx(float(problem.total_size(found.ratios)))
    assert found.bound <= sizes[accuracies >= floor].min() + 1e-9
    best = float(problem.weighted_accuracy(problem.low))
    assert above_floor(problem.gain, problem.sizes, best + 1)(problem.low, problem.high) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_within_two_budgets(seed: int) -> None:
    problem, draws = problem_of(seed)
    caps = {"total_cap": problem.total_size(draws), "latency_cap": problem.total_time(draws)}
    limited = replace(problem, **{name: float(np.quantile(figure, 0.4)) for name, figure in caps.items()})
    found = within_budgets(limited)(problem.low, problem.high)
    assert found is not None
    assert limited.violation(found.ratios) == 0
    inside = limited.violation(draws) == 0
    assert found.bound <= -problem.weighted_accuracy(draws[inside]).max() + 1e-9
    assert found.bound <= found.loss + 1e-9
    hopeless = replace(limited, total_cap=float(problem.total_size(problem.high)))
    assert within_budgets(hopeless)(problem.low, (problem.low + problem.high) / 2) is None


def test_where_no_cap_binds_the_least_pruned_division_is_the_best() -> None:
    problem, _ = problem_of(0)
    loose = replace(problem, total_cap=1e6, latency_cap=1e6)
    found = within_budgets(loose)(problem.low, problem.high)
    assert found is not None
    np.testing.assert_array_equal(found.ratios, problem.low)
    assert found.gap == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_above_a_floor_in_time(seed: int) -> None:
    problem, draws = problem_of(seed)
    limited = replace(problem, latency_cap=float(np.quantile(problem.total_time(draws), 0.6)))
    in_time = draws[problem.total_time(draws) <= limited.latency_cap]
    floor = float(np.quantile(problem.weighted_accuracy(in_time), 0.5))
    found = above_floor_in_time(limited, floor)(problem.low, problem.high)
    assert found is not None
    assert problem.weighted_accuracy(found.ratios) >= floor - 1e-9
    assert problem.total_time(found.ratios) <= limited.latency_cap * (1 + 1e-9)
    reaching = in_time[problem.weighted_accuracy(in_time) >= floor]
    assert found.bound <= problem.total_size(reaching).min() + 1e-9
    assert above_floor_in_time(limited, 1e3)(problem.low, problem.high) is None
