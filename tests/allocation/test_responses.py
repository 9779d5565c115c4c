"""Weighted sums of curves in bulk, and the first ratios that keep limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.allocation.curves import parse
from raysearch.allocation.responses import Response, first_ratios

STEEP, FLAT, FLOORED = parse("10 - 8 p"), parse("5 - p^2"), parse("max(2, 12 - 15 p)")
RESPONSE = Response((np.array([1.0, 2.0, 0.5]), [STEEP, FLAT, STEEP]), (np.full(3, 3.0), [FLOORED] * 3))


def by_hand(ratios: list[float]) -> list[float]:
    first, second, third = ratios
    return [
        float(STEEP(first)) + 3 * float(FLOORED(first)),
        2 * float(FLAT(second)) + 3 * float(FLOORED(second)),
        0.5 * float(STEEP(third)) + 3 * float(FLOORED(third)),
    ]


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_a_figure_is_the_weighted_sum_of_its_curves(ratios: list[float]) -> None:
    figures = RESPONSE(np.array([ratios, ratios]))
    assert figures.shape == (2, 3)
    np.testing.assert_allclose(figures[1], by_hand(ratios), rtol=1e-12)
    some = RESPONSE(np.array([ratios[2], ratios[0]]), np.array([2, 0]))
    np.testing.assert_allclose(some, [figures[0, 2], figures[0, 0]])


def test_bounds_add_up_over_the_parts() -> None:
    grid = np.linspace(np.zeros(3), np.ones(3), 513)
    np.testing.assert_allclose(RESPONSE.bends(grid), np.broadcast_to([0.0, 4.0, 0.0], (512, 3)))
    rises = RESPONSE.kinks(grid, concave=False)
    assert rises.max(axis=0).tolist() == pytest.approx([45.0] * 3)  # 3 * 15 where the floor is met
    assert (RESPONSE.kinks(grid, concave=True) == 0).all()


def test_the_first_ratio_that_keeps_a_limit() -> None:
    response = Response((np.ones(4), [STEEP] * 4))
    low, high = np.full(4, 0.1), np.full(4, 0.9)
    found = first_ratios(response, np.array([20.0, 6.0, 1.0, np.inf]), low, high)
    np.testing.assert_allclose(found, [0.1, 0.5, 0.9, 0.1], rtol=1e-15)
    assert (response(found[1:2], np.array([1])) <= 6.0).all()  # kept, not missed by rounding
