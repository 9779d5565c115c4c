from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PPoly

from raysearch.allocation.curves import Curve, check_curve, parse, polynomial
from raysearch.allocation.exact.bank import Bank

RATIOS = np.linspace(0, 1, 41)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("85.28 - 10.35 p - 28.44 p^2", 85.28 - 10.35 * RATIOS - 28.44 * RATIOS**2),
        ("10 (0.06386 - 0.06386 p)", 0.6386 * (1 - RATIOS)),
        ("max(0, 85 - 90p)", np.maximum(0, 85 - 90 * RATIOS)),
        ("max(85 - 90p, 0)", np.maximum(0, 85 - 90 * RATIOS)),
        ("2*(1-p)**3 + 1e-1", 2 * (1 - RATIOS) ** 3 + 0.1),
        ([3, -1, -0.5], 3 - RATIOS - 0.5 * RATIOS**2),
    ],
)  # fmt: skip
def test_formulas_are_read(text, expected):
    np.testing.assert_allclose(parse(text)(RATIOS), expected, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "exp(p)",
        "1 / p",
        "",
        "p^p",
        "2 3",
        "q",
        "85 - 3q",
        "85 - P",
        "open('x')",
        "p^99",
        "max(1, p)(2)",
        "max(p, 1 - p)",
        "max(1, 2, p)",
    ],
)
def test_what_is_no_polynomial_is_refused(text):
    with pytest.raises(ValueError, match="cannot be read"):
        parse(text)


@pytest.mark.parametrize("coefficients", [[], [1.0, float("nan")], [float("inf")]])
def test_coefficients_must_be_finite(coefficients):
    with pytest.raises(ValueError, match="finite"):
        parse(coefficients)


def test_a_formula_survives_being_written():
    curve = parse("max(0, 85.28 - 10.35 p - 28.44 p^2)")
    np.testing.assert_allclose(parse(str(curve))(RATIOS), curve(RATIOS))


def test_a_rising_curve_is_refused():
    with pytest.raises(ValueError, match=r"the size curve rises from ratio 0\.5"):
        check_curve(parse("1 - p + p^2"), "the size curve")
    check_curve(parse("max(1, 1.5 - p + 0.4 p^2)"), "rises only below its limit")


def stairs(slopes, *, gap=0.0):
    """Straight pieces of a 2,000th each, the rest level; between them gaps."""
    x = np.append(np.arange(len(slopes) + 1) / 2000, 1.0)
    heights = np.cumsum([100.0, *(s / 2000 - gap for s in slopes)])
    return Curve(PPoly(np.array([[*slopes, 0.0], heights]), x))


def test_several_kinks_within_one_cell_add_up():
    for slopes in ([0.0, -3.0, -6.0, -9.0], [-9.0, -6.0, -3.0, 0.0]):
        curve, grid = stairs(slopes), np.linspace(0, 1, 514)[:, None]
        bank, which = Bank((curve,)), np.zeros(1, dtype=np.intp)
        left, right, t = grid[:-1], grid[1:], np.linspace(0, 1, 41)[1:-1]
        above = curve(left + t * (right - left)) - ((1 - t) * curve(left) + t * curve(right))
        for sign, kind in ((1, "fall"), (-1, "rise")):
            allowed = bank.bound(kind, grid, which) * (right - left) / 4 + 1e-12
            assert (sign * above <= allowed).all()
        assert bank.bound("fall", grid, which)[2:].max() == 0  # each counted near where it is


def test_a_curve_with_jumps_is_refused():
    check_curve(stairs([-1.0, -5.0]), "the size curve")
    with pytest.raises(ValueError, match=r"the size curve jumps at ratio 0\.0005: join its pieces"):
        check_curve(stairs([-1.0, -5.0], gap=1.0), "the size curve")


@settings(max_examples=60)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=6), st.floats(-20, 20))
def test_bounds_hold_between_any_two_points(coefficients, lower):
    """A curve is above its chords by no more than its bend and its falls of slope allow."""
    curve = polynomial(coefficients, lower=lower)
    grid = np.linspace(0, 1, 18)
    left, right = grid[:-1], grid[1:]
    for t in (0.1, 0.5, 0.83):
        chord = (1 - t) * curve(left) + t * curve(right)
        above = curve((1 - t) * left + t * right) - chord
        width = right - left
        bend = curve.bend(left, right) * width**2 / 8
        assert (above <= bend + curve.kink(left, right, concave=True) * width / 4 + 1e-9).all()
        assert (-above <= bend + curve.kink(left, right, concave=False) * width / 4 + 1e-9).all()
