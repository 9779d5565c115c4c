"""The methods that allocation is compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.published.allocation_methods import nsga2, nsga2_per_branch, penalised_ga, relaxation_ladder
from raysearch.allocation import allocate
from raysearch.allocation import instances as ready

A = ready.instance_a()


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
