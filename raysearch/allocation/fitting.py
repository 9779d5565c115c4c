"""Fitting response curves to sweeps: falling polynomials and splines, chosen by what they predict.

A model is judged by leaving out one ratio at a time (with all its repetitions) and predicting it from the
others; the smallest and the largest ratio are always kept, so that nothing is extrapolated. The root mean
squared error of those predictions is the curve's ``error``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raysearch.allocation.curves import Curve, Floats, check_curve
from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean

KINDS = ("auto", "polynomial", "spline")
MOST_DEGREE = 6
FEWEST_RATIOS = 4
_ROUNDING = 1e-9  # of the values' range

_Fitter = Callable[[Floats, Floats], Any]


def fit(ratios: ArrayLike, values: ArrayLike, *, kind: str = "auto", lower: float = -np.inf) -> Curve:
    """The falling curve that predicts left-out measurements best.

    Polynomials have the smallest degree whose error is within one standard error of the best; where the least
    squares polynomial rises somewhere, the best one with falling Bernstein coefficients takes its place.
    Splines are isotonic regression joined by a monotone cubic (Fritsch and Carlson 1980).

    Args:
        ratios: the pruning ratios, in [0, 1], shape (k,); repetitions are welcome.
        values: what was measured there, shape (k,).
        kind: "polynomial", "spline", or "auto" for whichever predicts better.
        lower: the curve is never below it, such as 0 for an accuracy.

    Raises:
        ValueError: an unknown kind, figures that are not finite, ratios outside [0, 1], or fewer than 4 of
            them.
    """
    p, y = _checked(ratios, values, kind)
    fitters: dict[str, _Fitter] = {}
    if kind != "spline":
        highest = min(MOST_DEGREE, len(np.unique(p)) - 2)
        fitters |= {f"{d}": partial(_polynomial, degree=d) for d in range(1, highest + 1)}
    if kind != "polynomial":
        fitters["spline"] = _spline
    squares = {name: _left_out(p, y, fitter) for name, fitter in fitters.items()}
    chosen = _simplest(squares, (_ROUNDING * float(np.ptp(y))) ** 2)
    error = float(np.sqrt(squares[chosen].mean()))
    curve = Curve(fitters[chosen](p, y), lower, error, np.array([p, y]))
    check_curve(curve, "the fitted curve")
    return curve


def _checked(ratios: ArrayLike, values: ArrayLike, kind: str) -> tuple[Floats, Floats]:
    """The measurements in order of their ratios."""
    if kind not in KINDS:
        raise UserError(f"kind is {kind!r}; {did_you_mean(kind, KINDS)}")
    p, y = np.asarray(ratios, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise UserError(f"ratios have shape {p.shape} and values {y.shape}: both must be (k,)")
    if not (np.isfinite(p).all() and np.isfinite(y).all() and (p >= 0).all() and (p <= 1).all()):
        raise UserError("ratios must lie in [0, 1], and all values must be finite")
    if len(np.unique(p)) < FEWEST_RATIOS:
        raise UserError(f"{len(np.unique(p))} different ratios: a curve needs at least {FEWEST_RATIOS}")
    order = np.argsort(p, kind="stable")
    return p[order], y[order]


def _left_out(p: Floats, y: Floats, fitter: _Fitter) -> Floats:
    """The mean squared error at each inner ratio, predicted from all the other ratios."""
    result = []
    for ratio in np.unique(p)[1:-1]:
        out = p == ratio
        predicted = float(fitter(p[~out], y[~out])(ratio))
        result.append(float(np.mean((y[out] - predicted) ** 2)))
    return np.array(result)


def _simplest(squares: dict[str, Floats], rounding: float) -> str:
    """The first of the models, in order of complexity, within one standard error of the best."""
    best = squares[min(squares, key=lambda name: float(squares[name].mean()))]
    spread = best.std(ddof=1) / np.sqrt(len(best))
    limit = best.mean() + spread + rounding
    return next(name for name, square in squares.items() if square.mean() <= limit)


def _polynomial(p: Floats, y: Floats, degree: int) -> Any:
    """The least squares polynomial over [min(p), max(p)] that does not rise."""
    from scipy.interpolate import BPoly, PPoly  # type: ignore[import-untyped]
    from scipy.optimize import lsq_linear  # type: ignore[import-untyped]
    from scipy.special import binom  # type: ignore[import-untyped]

    ends = np.array([p[0], p[-1]])
    t = ((p - ends[0]) / np.ptp(ends))[:, None]
    k = np.arange(degree + 1)
    basis = binom(degree, k) * t**k * (1 - t) ** (degree - k)
    bernstein = np.linalg.lstsq(basis, y, rcond=None)[0]
    free = PPoly.from_bernstein_basis(BPoly(bernstein[:, None], ends))
    if _falls(free):
        return free
    steps = basis @ np.tri(degree + 1)  # of the first coefficient and of each fall to the next
    limits = np.append(np.inf, np.zeros(degree))
    falls = lsq_linear(steps, y, (np.full(degree + 1, -np.inf), limits), method="bvls").x
    falls[1:] = np.minimum(falls[1:], 0)
    return PPoly.from_bernstein_basis(BPoly(np.cumsum(falls)[:, None], ends))


def _falls(pieces: Any) -> bool:
    """Whether a polynomial rises nowhere."""
    turns = pieces.derivative().roots(extrapolate=False)
    values = pieces(np.unique(np.concatenate([pieces.x, turns[np.isfinite(turns)]])))
    return bool((np.diff(values) <= 1e-12 * max(1.0, np.ptp(values))).all())


def _spline(p: Floats, y: Floats) -> Any:
    """Isotonic regression, joined by a monotone cubic."""
    from scipy.interpolate import PchipInterpolator, PPoly
    from scipy.optimize import isotonic_regression

    knots, where, counts = np.unique(p, return_inverse=True, return_counts=True)
    means = np.bincount(where, weights=y) / counts
    pchip = PchipInterpolator(knots, isotonic_regression(means, weights=counts, increasing=False).x)
    return PPoly(pchip.c, pchip.x)
