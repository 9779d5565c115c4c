"""The walk over the majorants: totals, corners and slopes, beside hulls that are computed otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from raysearch.allocation.exact.hulls import Hulls, _majorant

POINTS = 9


def falling(seed: int, branches: int) -> np.ndarray:
    """Figures that fall along a grid, (POINTS, branches)."""
    drops = np.random.default_rng(seed).uniform(0.1, 1.0, (POINTS, branches))
    return np.cumsum(drops[::-1], axis=0)[::-1]


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_corners_are_those_of_the_upper_convex_hull(seed: int) -> None:
    gain, cost = falling(seed, 1)[::-1, 0], falling(seed + 1, 1)[::-1, 0]
    corners, slopes = _majorant(gain, cost)
    below = np.array([[cost[0], -10.0], [cost[-1], -10.0]])  # so that only the upper side has other corners
    hull = ConvexHull(np.vstack([np.column_stack([cost, gain]), below]))
    assert corners.tolist() == sorted(i for i in hull.vertices if i < POINTS)
    np.testing.assert_allclose(slopes, np.diff(gain[corners]) / np.diff(cost[corners]))
    assert (np.diff(slopes) <= 1e-12).all()


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(["cost", "gain"]))
def test_the_steps_around_a_target_are_next_to_each_other_and_enclose_it(seed: int, on: str) -> None:
    gain, cost = falling(seed, 3), falling(seed + 1, 3)
    figure = cost if on == "cost" else gain
    least, most = figure[-1].sum(), figure[0].sum()
    targets = least + np.array([0.1, 0.5, 0.9]) * (most - least)
    before, after, slopes = Hulls(gain, cost).around(targets, on)
    columns = np.arange(3)
    low, high = (figure[index, columns].sum(axis=1) for index in (before, after))
    assert (low <= targets + 1e-9).all()
    assert (targets <= high + 1e-9).all()
    assert ((before != after).sum(axis=1) == 1).all()  # one branch moves
    assert (np.diff(slopes) <= 1e-12).all()  # the dearer, the less for it


def test_beyond_the_ends_the_walk_stays_at_its_last_steps() -> None:
    gain, cost = falling(0, 2), falling(1, 2)
    before, after, _ = Hulls(gain, cost).around(np.array([-1.0, 1e9]), "cost")
    assert before[0].tolist() == [POINTS - 1] * 2  # everything pruned
    assert after[1].tolist() == [0, 0]  # nothing


def test_a_gain_that_costs_nothing_comes_first_and_is_finite() -> None:
    gain = np.array([[3.0], [2.0], [0.0]])
    cost = np.array([[1.0], [0.0], [0.0]])
    hulls = Hulls(gain, cost)
    before, after, slopes = hulls.around(np.array([0.5]), "cost")
    assert (before[0, 0], after[0, 0]) == (1, 0)
    assert slopes[0] == pytest.approx(1.0)
