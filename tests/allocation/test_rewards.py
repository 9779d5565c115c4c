"""The studies' rewards, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.allocation import instances as ready
from raysearch.allocation.rewards import accuracy_reward, bonus, branch_rewards, ratio_reward, time_reward

A = ready.instance_a()


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


def test_the_accuracy_term_is_largest_at_the_floor_and_jumps_just_above_it() -> None:
    above = np.array([-1.0, 0.0, 0.01, 0.0101, 1.0])
    found = accuracy_reward(above)
    assert found[1] == found.max() == 100
    assert found[0] == pytest.approx(found[4]) == 100 * np.exp(-1 / 32)
    assert found[2] == pytest.approx(100 * np.exp(-(0.01**2) / 40))
    assert found[3] == pytest.approx(100 * np.exp(-(0.0101**1.5) / 32))
    assert found[2] > found[3]


def test_time_is_best_at_nothing_and_the_bonus_is_for_both_limits() -> None:
    assert time_reward(np.array([0.0, 0.8])) == pytest.approx([1.0, np.exp(-0.5)])
    above, excess = np.array([1.0, 1.0, -1.0]), np.array([-4.0, 4.0, -4.0])
    assert bonus(above, excess).tolist() == [4.0, 0.0, 0.0]
