from __future__ import annotations

import numpy as np
import pytest

from raysearch.schedulers.extrapolation import Extrapolation, grid
from raysearch.schedulers.gains import gains, rate

NORMALS = np.array([-1.0, 0.0, 1.0])


@pytest.mark.parametrize("last", [1, 2, 9, 52, 200])
def test_the_grid_rises_from_the_first_step_to_the_last(last):
    steps = grid(last)
    assert (steps[0], steps[-1]) == (1, last)
    assert (np.diff(steps) > 0).all()


def test_power_laws_are_extrapolated_to_their_ends():
    steps, rng = grid(100), np.random.default_rng(0)
    floors, start = rng.random(200), 1 + rng.random(200)
    curves = floors[:, None] + start[:, None] * steps[None, :] ** -0.7
    model = Extrapolation.fit(steps, curves, curves[:, -1])
    at = np.full(200, steps[8])
    ends = model.finals(steps, at, curves[:, 8], NORMALS)
    assert np.corrcoef(ends[:, 1], curves[:, -1])[0, 1] > 0.9
    within = (ends[:, 0] <= curves[:, -1]) & (curves[:, -1] <= ends[:, 2])
    assert 0.25 < within.mean() < 1


def test_without_any_curve_it_is_a_power_law_with_a_wide_spread():
    steps = grid(9)
    curves = np.full((3, len(steps)), np.nan)
    curves[:, 0] = [1.0, 2.0, 3.0]
    (low, middle, high), *_ = Extrapolation.fit(steps, curves, curves[:, 0]).finals(
        steps, np.ones(1, dtype=int), np.array([3.0]), NORMALS
    )
    assert low < middle < high <= 3.0


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_a_gain_is_the_volume_that_a_point_adds(objectives):
    rng = np.random.default_rng(objectives)
    front, point = rng.random((5, objectives)), rng.random(objectives)
    draws = rng.random((200_000, objectives)) * 1.1
    free = ~(front[None] <= draws[:, None]).all(axis=2).any(axis=1)
    share = (free & (point <= draws).all(axis=1)).mean() * 1.1**objectives
    assert gains(point[None], front, 1.1)[0] == pytest.approx(share, abs=0.01)
    assert gains(front[:1], front, 1.1)[0] == pytest.approx(0)


def test_a_rate_stops_early_where_only_few_outcomes_are_worth_it():
    remaining, screening = np.array([50.0]), np.array([1.0])
    assert rate(np.array([[1.0, 1.0]]), remaining, screening)[0] == pytest.approx(1 / 50)
    assert rate(np.array([[1.0, 0.0]]), remaining, screening)[0] == pytest.approx(1 / (2 + 49))
