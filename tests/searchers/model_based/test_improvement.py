from __future__ import annotations

import numpy as np
import pytest

from raysearch.pareto import hypervolume
from raysearch.searchers.model_based import improvement
from raysearch.searchers.model_based.improvement import directions, expected_improvement

RNG = np.random.default_rng(0)
REFERENCE = np.array([1.0, 1.0])


def sampled(mean, deviation, front, reference, draws=4000):
    """The plain Monte Carlo mean of the gain."""
    before = hypervolume(front, reference)
    points = mean + deviation * np.random.default_rng(1).standard_normal((draws, len(mean)))
    return np.mean([hypervolume(np.vstack([front, point]), reference) - before for point in points])


def test_two_costs_equal_sampling():
    front = np.array([[0.2, 0.8], [0.5, 0.5], [0.8, 0.1]])
    mean, deviation = np.array([[0.4, 0.4], [0.9, 0.9], [0.1, 0.2]]), np.full((3, 2), 0.15)
    exact = expected_improvement(mean, deviation, front, REFERENCE, directions(2, RNG))
    for i in range(3):
        assert exact[i] == pytest.approx(sampled(mean[i], deviation[i], front, REFERENCE), rel=0.1, abs=1e-4)


def test_without_a_front_all_the_volume_is_gained():
    gain = expected_improvement(
        np.array([[0.25, 0.5]]), np.full((1, 2), 1e-6), np.empty((0, 2)), REFERENCE, directions(2, RNG)
    )
    assert gain == pytest.approx([0.375])


def test_rays_order_candidates_as_sampling_does(monkeypatch):
    monkeypatch.setattr(improvement, "_RAYS", 512)
    reference = np.ones(3)
    front = np.array([[0.2, 0.6, 0.5], [0.6, 0.2, 0.5], [0.5, 0.5, 0.2]])
    mean = np.array([[0.3, 0.3, 0.3], [0.5, 0.5, 0.5], [0.1, 0.7, 0.7], [0.9, 0.9, 0.05]])
    deviation = np.full((4, 3), 0.1)
    rays = expected_improvement(mean, deviation, front, reference, directions(len(reference), RNG))
    truth = np.array([sampled(m, d, front, reference, 1500) for m, d in zip(mean, deviation, strict=True)])
    assert rays / rays[0] == pytest.approx(truth / truth[0], rel=0.25, abs=0.02)


def test_one_cost_is_expected_improvement():
    gain = expected_improvement(
        np.array([[0.5], [0.3], [0.9]]),
        np.array([[0.1], [0.1], [0.1]]),
        np.array([[0.5]]),
        np.array([1.0]),
        directions(1, RNG),
    )
    assert gain[0] == pytest.approx(0.1 / np.sqrt(2 * np.pi), rel=0.05)
    assert gain[1] > gain[0] > gain[2]
