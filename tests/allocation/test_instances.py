"""The published instances are as they were published."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.allocation import instances as ready


def test_instance_a_is_twelve_views_under_one_set_of_curves() -> None:
    problem = ready.instance_a()
    assert problem.names == tuple(map(str, range(12)))
    assert problem.importances.sum() == pytest.approx(1, abs=1e-7)
    p = np.full(12, 0.5)
    assert problem.weighted_accuracy(p) == pytest.approx(85.28 - 5.175 - 7.11 - 6.175)
    assert problem.total_size(p) == pytest.approx(12 * (496.7 - 353.1 + 69.225 + 0.5025))
    assert problem.total_time(p) == pytest.approx(10 * 0.03193)
    assert problem.total_size(problem.unpruned) == pytest.approx(12 * 496.7)


def test_random_instances_lie_in_their_ranges_and_follow_their_generator() -> None:
    drawn = [ready.random_instance(np.random.default_rng(seed)) for seed in range(20)]
    caps = np.array([p.caps for p in drawn])
    scales = np.array([b.time_scale for p in drawn for b in p.branches])
    assert ((caps >= 100) & (caps <= 500)).all()
    assert all(50 <= p.floor <= 82 for p in drawn)
    assert ((scales >= 10) & (scales <= 100)).all()
    assert np.ptp(caps) > 300
    again = ready.random_instance(np.random.default_rng(7))
    np.testing.assert_array_equal(again.caps, drawn[7].caps)


def test_instance_b_s_views_have_importances_by_their_scores() -> None:
    problem = ready.instance_b_views()
    assert int(problem.importances.argmax()) == 0
    assert problem.importances[11] == 0  # the lowest score
    scores = np.array(ready.SCORES_B)
    ratio = problem.importances[10] / problem.importances[0]
    assert ratio == pytest.approx((scores[10] - scores[11]) / (scores[0] - scores[11]))
    assert np.isinf(problem.caps).all()


def test_instance_b_has_a_floor_and_a_cap_of_one_network() -> None:
    ratio = ready.instance_b()
    assert (ratio.floor, ratio.cap) == (70.0, 300.0)
    assert float(ratio.size(0.5)) == pytest.approx(480.4 - 213.7)
    drawn = [ready.random_ratio(np.random.default_rng(seed)) for seed in range(20)]
    assert all(50 <= r.floor <= 82 and 100 <= r.cap <= 450 for r in drawn)
