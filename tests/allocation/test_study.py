"""The study's rule and methods, and the sweeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.published.allocation_methods import nsga2, nsga2_per_branch, penalised_ga, relaxation_ladder
from raysearch.allocation import (
    Problem,
    allocate,
    branches_of,
    importance_inverse,
    importances_left_out,
)
from raysearch.allocation import instances as ready
from raysearch.allocation.rewards import branch_rewards, ratio_reward

A, VIEWS = ready.instance_a(), ready.instance_b_views()


def test_the_inverse_rule_meets_its_target_and_costs_more_than_the_optimum():
    found = importance_inverse(VIEWS, 75)
    assert found.before == pytest.approx(66.46, abs=0.005)
    assert found.accuracy == pytest.approx(75, abs=1e-6)
    assert found.correlation == pytest.approx(-1, abs=1e-9)
    assert found.eased == ()
    assert found.optimum_size_mb < found.size_mb
    assert VIEWS.weighted_accuracy(found.optimum) >= 75 - 1e-9
    assert found.frame["ratio"].tolist() == found.ratios.tolist()


def test_where_scaling_is_not_enough_the_most_important_are_eased_first():
    found = importance_inverse(VIEWS, 75, least_scale=0.9)
    assert found.scale == 0.9
    assert found.eased == ("10", "6", "7")  # view 0 is the most important, and the rule does not prune it
    assert found.accuracy == pytest.approx(75, abs=1e-6)
    assert found.ratios[10] == found.ratios[6] == 0 < found.ratios[7]


def test_caps_are_kept_by_the_inverse_rule():
    found = importance_inverse(A, 70)
    assert (found.ratios >= A.low - 1e-12).all()
    assert found.accuracy >= 70 - 1e-9
    assert importance_inverse(VIEWS, 60).scale == 1


def test_a_total_cap_that_the_rule_breaks_is_said_and_the_optimum_keeps_it():
    rule = importance_inverse(VIEWS, 75)
    assert rule.violation == 0
    between = importance_inverse(replace(VIEWS, total_cap=2500.0), 75)
    assert between.optimum_size_mb < 2500 < between.size_mb
    assert between.violation == pytest.approx(between.size_mb / 2500 - 1)
    with pytest.raises(
        ValueError, match="target is 75, but within the caps the weighted accuracy is at most 74"
    ):
        importance_inverse(replace(VIEWS, total_cap=2300.0), 75)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (80, {}, "within the caps the weighted accuracy is at most 76.48"),
        (70, {"steepest": 1.5}, "steepest is 1.5"),
        (70, {"least_scale": -1}, "least_scale -1"),
    ],
)
def test_bad_inverse_rules_are_refused(target, options, message):
    with pytest.raises(ValueError, match=message):
        importance_inverse(A, target, **options)


def test_equal_importances_have_no_inverse():
    equal = tuple(replace(b, importance=1 / 12) for b in A.branches)
    with pytest.raises(ValueError, match="all importances are equal"):
        importance_inverse(replace(A, branches=equal), 70)


def test_rewards_are_the_study_s():
    """By hand, at a point within both limits and at one outside."""
    reward = ratio_reward(*(np.array([x]) for x in (0.4, 75.0, 280.0, 0.8)), floor=70.0, cap=300.0)
    terms = 100 * np.exp(-(5**1.5) / 32), 100 * np.exp(-0.5), 100 + 300 / 280, 2 * 5 + 10, 4
    assert reward[0] == pytest.approx(sum(terms))
    outside = ratio_reward(*(np.array([x]) for x in (0.2, 69.0, 302.0, 0.8)), floor=70.0, cap=300.0)
    terms = 100 * np.exp(-1 / 32), 100 * np.exp(-0.5), 100 * np.exp(-0.1), 0, 2
    assert outside[0] == pytest.approx(sum(terms))
    ratios = np.full((1, 12), 0.3)
    size, time = float(A.sizes(ratios)[0, 0]), float(A.times(ratios)[0, 0])
    above = float(A.accuracies(ratios)[0, 0]) - A.floor
    x, y, z = np.array([10, 1, 1]) / 12
    expected = (
        x * 100 * np.exp(-(above**1.5) / 32)
        + y * 10 * np.exp(-(time**2) / 1.28)
        + z * 0.5 * (99 + size / A.caps[0])
        + 2 * above
        + (A.caps[0] - size) / 2
        + 0.15
    )
    assert branch_rewards(A, ratios)[0, 0] == pytest.approx(expected)


def test_nsga2_stays_below_the_front():
    found, ours = nsga2(A, evaluations=4000, population=100), allocate(A, points=64).front
    points = found.feasible
    assert found.evaluations == 4000
    assert len(points) > 10
    sizes, accuracies = A.total_size(points), A.weighted_accuracy(points)
    for point in ours.itertuples():
        inside = sizes <= point.size_mb
        assert not inside.any() or accuracies[inside].max() <= point.accuracy + 1e-6


@pytest.mark.parametrize("method", [nsga2_per_branch, penalised_ga])
def test_the_study_s_methods_say_which_points_keep_the_limits(method):
    first, again = (method(A, population=20, generations=5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.ratios, again.ratios)
    np.testing.assert_array_equal(first.violations, A.violation(first.ratios))
    assert first.evaluations == 100


def test_the_ladder_ends_with_nothing_on_instance_a_and_with_points_on_a_loose_one():
    assert len(relaxation_ladder(A).ratios) == 0
    loose = replace(A.with_caps(np.full(12, 480.0)), floor=70.0)
    assert len(relaxation_ladder(loose, evaluations=1000).feasible) > 0


def sweep() -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for name, steep in (("left", 30.0), ("right", 60.0)):
        for ratio in np.linspace(0, 0.9, 10):
            for _ in range(2):
                accuracy = 90 - steep * ratio**2 + rng.normal(0, 0.5)
                rows.append((name, ratio, accuracy, 10 * (1 - ratio), 2 * (1 - ratio)))
    return pd.DataFrame(rows, columns=["branch", "ratio", "accuracy", "size_mb", "latency_ms"])


def test_a_sweep_becomes_branches():
    branches = branches_of(sweep(), {"left": 1, "right": 3}, caps={"left": 8.0})
    assert [(b.name, b.importance, b.cap) for b in branches] == [("left", 0.25, 8.0), ("right", 0.75, np.inf)]
    problem = Problem(branches, floor=80)
    left, right = (b.accuracy.error for b in branches)
    assert problem.accuracy_error == pytest.approx(np.sqrt((0.25 * left) ** 2 + (0.75 * right) ** 2))
    assert problem.size_error < 1e-9
    found = allocate(problem)
    assert found.feasible
    assert found.ratios.max() <= 0.9  # never beyond what was measured
    assert {"latency_ms", "bottleneck"} <= set(found.front)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"importances": {"left": 1.0}}, "'right' has no importance"),
        ({"caps": {"lefd": 1.0}}, "did you mean 'left'"),
        (
            {"importances": {"left": -1.0, "right": 2.0}},
            "branch 'left': importance is -1, it must be a number >= 0",
        ),
        ({"table": sweep().drop(columns="size_mb")}, "no column 'size_mb'"),
        ({"table": sweep().iloc[:6]}, "branch 'left', accuracy: 3 different ratios"),
    ],
)
def test_bad_sweeps_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        branches_of(**{"table": sweep(), **change})


def test_importances_are_what_is_missed():
    found = importances_left_out(0.9, {"a": 0.6, "b": 0.8, "c": 0.95})
    assert found == pytest.approx({"a": 0.75, "b": 0.25, "c": 0.0})
    assert importances_left_out(0.5, {"a": 0.5, "b": 0.6}) == {"a": 0.5, "b": 0.5}
    with pytest.raises(ValueError, match="finite accuracy"):
        importances_left_out(0.9, {})
