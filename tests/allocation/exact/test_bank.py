"""Many curves at once are each curve by itself, and their bounds hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PPoly

from raysearch.allocation.curves import Curve, parse
from raysearch.allocation.exact.bank import CELLS, Bank

SPLINE = Curve(PPoly(np.array([[-4.0, -1.0], [9.0, 7.0]]), np.array([0.0, 0.5, 0.9])), -np.inf, 0.0)
CURVES = (parse("85 - 10 p - 28 p^2"), parse("max(10, 90 - 150 p)"), SPLINE)
KINDS = ("bend", "fall", "rise")


def grid(which: np.ndarray, parts: int = CELLS) -> np.ndarray:
    """A grid over the whole domain of each column's curve."""
    return np.linspace(*np.array([CURVES[i].domain for i in which]).T, parts + 1)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.9)), min_size=1, max_size=12))
def test_each_column_is_its_own_curve(asked: list[tuple[int, float]]) -> None:
    which, ratios = np.array([i for i, _ in asked]), np.array([p for _, p in asked])
    expected = [float(CURVES[i](p)) for i, p in asked]
    np.testing.assert_allclose(Bank(CURVES)(ratios, which), expected, rtol=1e-12, atol=1e-12)
    rows = np.stack([ratios, ratios / 2])
    np.testing.assert_allclose(Bank(CURVES)(rows, which)[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", [CELLS, 3 * CELLS])
def test_a_curve_is_above_its_chord_by_no_more_than_bend_and_fall_allow(parts: int) -> None:
    which = np.arange(len(CURVES))
    edges, bank = grid(which, parts), Bank(CURVES)
    left, right = edges[:-1], edges[1:]
    middle, width = (left + right) / 2, right - left
    above = bank(middle, which) - (bank(left, which) + bank(right, which)) / 2
    bend, fall, rise = (bank.bound(kind, edges, which) for kind in KINDS)
    assert (above <= bend * width**2 / 8 + fall * width / 4 + 1e-12).all()
    assert (-above <= bend * width**2 / 8 + rise * width / 4 + 1e-12).all()


def test_kinks_are_where_they_are_and_nowhere_else() -> None:
    which = np.array([1, 2])
    edges = grid(which)
    rises = Bank(CURVES).bound("rise", edges, which)
    hit = edges[:-1][rises[:, 0] > 0, 0]
    assert np.abs(hit - 8 / 15).max() < 3 / CELLS  # the straight line meets its floor there
    assert rises[:, 0].max() == pytest.approx(150)
    assert rises[:, 1].max() == pytest.approx(3)  # from -4 to -1
    assert Bank(CURVES).bound("fall", edges, which)[:, 0].max() == 0


def test_a_straight_line_does_not_bend_and_a_parabola_does_everywhere() -> None:
    which = np.array([0, 1])
    bends = Bank(CURVES).bound("bend", grid(which), which)
    np.testing.assert_allclose(bends[:, 0], 56)
    assert (bends[:, 1] == 0).all()
