"""Curves fitted to measurements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.allocation.curves import check_curve, parse
from raysearch.allocation.fitting import fit


@pytest.mark.parametrize("kind", ["auto", "polynomial", "spline"])
@pytest.mark.parametrize("formula", ["85 - 10 p - 28 p^2 - 45 p^3", "1.02 - 1.417 p + 3.677 p^2 - 3.275 p^3"])
def test_noisy_sweeps_are_fitted(kind, formula):
    truth, rng = parse(formula), np.random.default_rng(0)
    p = np.repeat(np.linspace(0, 0.95, 14), 10)
    noise = 0.02 * np.ptp(truth(p))
    curve = fit(p, truth(p) + rng.normal(0, noise, len(p)), kind=kind)
    fine = np.linspace(*curve.domain, 301)
    assert np.sqrt(np.mean((curve(fine) - truth(fine)) ** 2)) < noise
    assert 0.5 * noise < curve.error < 2 * noise
    assert (np.diff(curve(fine)) <= 1e-12).all()
    lower, upper = curve.band(p)
    new = truth(p) + rng.normal(0, noise, len(p))
    assert ((lower <= new) & (new <= upper)).mean() > 0.9


def test_an_exact_polynomial_is_found_again():
    p = np.linspace(0, 1, 15)
    curve = fit(p, parse("85 - 10 p - 28 p^2 - 40 p^3")(p))
    assert str(curve) == "85 - 10 p - 28 p^2 - 40 p^3"
    assert curve.error < 1e-9


@settings(max_examples=30)
@given(st.lists(st.floats(-100, 100), min_size=5, max_size=12), st.sampled_from(["polynomial", "spline"]))
def test_whatever_is_measured_the_fit_falls(values, kind):
    curve = fit(np.linspace(0, 0.9, len(values)), values, kind=kind)
    check_curve(curve, "the fit")


@pytest.mark.parametrize(
    ("ratios", "values", "kind", "message"),
    [
        ([0, 0.1, 0.2, 0.2], [1, 1, 1, 1], "auto", "3 different ratios"),
        ([0, 0.1, 0.2, 1.2], [1, 1, 1, 1], "auto", r"lie in \[0, 1\]"),
        ([0, 0.1, 0.2, 0.3], [1, 1, 1, float("nan")], "auto", "finite"),
        ([0, 0.1, 0.2], [1, 1, 1, 1], "auto", "shape"),
        ([0, 0.1, 0.2, 0.3], [1, 1, 1, 1], "splines", "did you mean 'spline'"),
    ],
)
def test_bad_sweeps_are_refused(ratios, values, kind, message):
    with pytest.raises(ValueError, match=message):
        fit(ratios, values, kind=kind)
