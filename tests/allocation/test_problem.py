"""What a division is asked for: totals, violations, the smallest ratios, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problem import random_problem

from raysearch.allocation import Problem, normalised, parse
from raysearch.allocation import instances as ready
from raysearch.allocation.fitting import fit

A = ready.instance_a()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"floor": 90}, "even unpruned the weighted accuracy is 85.2799991"),
        ({"total_cap": 500}, "pruned in full there are still 857"),
        ({"latency": "series"}, "latency is 'series'"),
        ({"latency_cap": -1}, "pruned in full it still takes 0 ms"),
        ({"floor": math.nan}, "floor is not a number"),
        ({"branches": ()}, "no branches"),
        ({"branches": (A.branches[0], A.branches[0])}, "same name"),
        ({"branches": A.branches[:3]}, "importances sum to 0.176"),
        ({"branches": (replace(A.branches[0], importance=-1.0),)}, "importance is -1,"),
        ({"branches": (replace(A.branches[0], cap=50.0),)}, "cap is 50 MB, but pruned in full"),
        ({"branches": (replace(A.branches[0], accuracy=parse("80 + p")),)}, "the accuracy curve rises"),
        ({"branches": (replace(A.branches[0], time=None, importance=1.0),), "latency_cap": 1}, "a time"),
    ],
)  # fmt: skip
def test_impossible_problems_are_refused_in_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        replace(A, **change)


def test_importances_are_normalised_with_a_note():
    assert normalised([2, 2]) == ([0.5, 0.5], "importances sum to 4: divided by their sum")
    assert normalised([0.25, 0.75]) == ([0.25, 0.75], "")
    thirds, note = normalised([0.3333333] * 3)
    assert (sum(thirds), note) == (1.0, "")
    bad = {
        "branch '1': importance is -0.5, it must": ([1.5, -0.5], None),
        "branch 'left': importance is nan": ([math.nan, 1], ["left", "right"]),
        "all importances are 0": ([0, 0], None),
    }
    for message, (importances, names) in bad.items():
        with pytest.raises(ValueError, match=message):
            normalised(importances, names)


def test_a_number_is_missing_where_there_are_fewer_than_branches():
    curves = {"accuracy": ready.accuracy_a(), "size": ready.size_a()}
    with pytest.raises(ValueError, match="there are 2 importances and 3 caps"):
        Problem.of([0.5, 0.5], [400.0] * 3, **curves)
    with pytest.raises(ValueError, match="there are 2 importances and 1 time_scales"):
        Problem.of([0.5, 0.5], [400.0] * 2, **curves, time_scales=[1.0])


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_totals_are_sums_over_the_branches(seed: int) -> None:
    problem = replace(random_problem(seed, 3), latency="sequential")
    ratios = np.random.default_rng(seed).random((4, 3))
    pairs = [list(zip(problem.branches, row, strict=True)) for row in ratios]
    expected = {
        problem.weighted_accuracy: [
            sum(b.importance * float(b.accuracy(p)) for b, p in row) for row in pairs
        ],
        problem.total_size: [sum(float(b.size(p)) for b, p in row) for row in pairs],
        problem.total_time: [sum(b.time_scale * float(b.time(p)) for b, p in row) for row in pairs],
    }
    for total, figures in expected.items():
        np.testing.assert_allclose(total(ratios), figures)
    times = [max(b.time_scale * float(b.time(p)) for b, p in row) for row in pairs]
    np.testing.assert_allclose(replace(problem, latency="parallel").total_time(ratios), times)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_the_smallest_ratios_keep_the_caps_and_hardly_smaller_ones_do_not(seed: int) -> None:
    problem = random_problem(seed, 3)
    late = replace(problem, latency_cap=0.8 * float(problem.total_time(problem.unpruned)))
    for limited in (problem, late):
        assert (limited.sizes(limited.low) <= limited.caps).all()
        assert limited.total_time(limited.low) <= limited.latency_cap
        for branch in np.flatnonzero(limited.low > 1e-6):
            ratios = limited.low.copy()
            ratios[branch] -= 1e-6
            over = limited.sizes(ratios)[branch] > limited.caps[branch]
            assert over or limited.total_time(ratios) > limited.latency_cap


def test_a_violation_is_the_sum_of_the_shares_by_which_limits_are_missed() -> None:
    curves = {"accuracy": parse("90 - 20 p"), "size": parse("10 - 8 p"), "time": parse("2 - p")}
    problem = Problem.of([0.5, 0.5], [8.0, 20.0], **curves)
    limits = {"floor": 80.0, "total_cap": 16.0, "latency_cap": 1.6}
    limited = replace(problem, **limits)
    unpruned = limited.violation([0.0, 0.0])
    assert unpruned == pytest.approx((10 - 8) / 8 + (20 - 16) / 16 + (2 - 1.6) / 1.6)
    assert limited.violation([1.0, 1.0]) == pytest.approx((80 - 70) / 80)
    assert limited.violation([0.4, 0.4]) == 0
    both = limited.violation(np.array([[0.0, 0.0], [0.4, 0.4]]))
    np.testing.assert_allclose(both, [float(unpruned), 0.0])


def test_the_error_of_shared_curves_does_not_average_out() -> None:
    p = np.linspace(0, 0.9, 8)
    curve = fit(p, 90 - 20 * p + np.random.default_rng(0).normal(0, 1, 8))
    other = fit(p, 90 - 20 * p + np.random.default_rng(1).normal(0, 1, 8))
    shared = Problem.of([0.5, 0.5], [np.inf] * 2, accuracy=curve, size=parse("10 - 8 p"))
    assert shared.accuracy_error == pytest.approx(curve.error)
    left, right = shared.branches
    apart = Problem((left, replace(right, accuracy=other)))
    assert apart.accuracy_error == pytest.approx(np.hypot(0.5 * curve.error, 0.5 * other.error))
