"""Response curves: how a figure of a branch (accuracy, size, time) falls as more of the branch is pruned.

A curve is a piecewise polynomial of the pruning ratio, so that its values, its slopes and a bound on its
curvature are exact. Those bounds are what makes an allocation's optimality provable.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysearch.basics.failures import UserError

Floats = NDArray[np.float64]

BAND = 1.96  # standard deviations: 95 % of a normal distribution

MOST_POWER = 12  # in a formula
_NUMBER = r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_ROUNDING = 1e-14  # of the largest coefficient: higher powers below that are noise
_CELLS = 1025  # where a curve is looked at for finiteness


@dataclass(frozen=True, eq=False)
class Curve:
    """A figure as a function of the pruning ratio.

    Attributes:
        pieces: the polynomials, a continuous ``scipy.interpolate.PPoly`` over the curve's domain in [0, 1].
        lower: the curve is never below it: max(lower, pieces).
        error: the root mean squared error on measurements that were left out of the fit; 0 for a given
            formula.
        measured: the ratios and values that it was fitted to, shape (2, k); None for a given formula.
    """

    pieces: Any
    lower: float = -np.inf
    error: float = 0.0
    measured: Floats | None = None

    @property
    def domain(self) -> tuple[float, float]:
        """The ratios that it holds for; an allocation never leaves them."""
        return float(self.pieces.x[0]), float(self.pieces.x[-1])

    def __call__(self, ratios: ArrayLike) -> Floats:
        """The values at ratios of any shape; outside the domain they are extrapolated."""
        values: Floats = np.maximum(self.lower, self.pieces(np.asarray(ratios, dtype=np.float64)))
        return values

    def band(self, ratios: ArrayLike) -> tuple[Floats, Floats]:
        """Where 95 % of new measurements are expected: the curve -/+ 1.96 times its error."""
        values = self(ratios)
        return values - BAND * self.error, values + BAND * self.error

    def bend(self, left: Floats, right: Floats) -> Floats:
        """The largest absolute second derivative within each interval [left, right], away from kinks."""
        second = self.pieces.derivative(2)
        bound = np.maximum(np.abs(second(left)), np.abs(second(right)))
        for ratio, value in self._turns:
            inside = (left <= ratio) & (ratio <= right)
            bound[inside] = np.maximum(bound[inside], value)
        return np.asarray(bound)

    def kink(self, left: Floats, right: Floats, *, concave: bool) -> Floats:
        """By how much the slope drops (``concave``) or rises at kinks within each interval, in all."""
        bound = np.zeros_like(left)
        for ratio, jump in self._kinks:
            inside = (left <= ratio) & (ratio <= right)
            bound[inside] += max(0.0, -jump if concave else jump)
        return bound

    @cached_property
    def _turns(self) -> list[tuple[float, float]]:
        """Ratios where the second derivative may be extreme, with its absolute value there."""
        second = self.pieces.derivative(2)
        x, starts, ends = second.x, np.abs(second.c[-1]), np.abs(_ends(second))
        turns = [*zip(x[:-1], starts, strict=True), *zip(x[1:], ends, strict=True)]
        if second.c.shape[0] > 2:  # linear pieces are extreme at their ends
            flat = second.derivative().roots(extrapolate=False)
            flat = flat[np.isfinite(flat)]
            turns += zip(flat, np.abs(second(flat)), strict=True)
        return turns

    @cached_property
    def _kinks(self) -> list[tuple[float, float]]:
        """Ratios where the slope jumps, with the jump."""
        slope = self.pieces.derivative()
        kinks = list(zip(slope.x[1:-1], slope.c[-1, 1:] - _ends(slope)[:-1], strict=True))
        if np.isfinite(self.lower):
            crossings = self.pieces.solve(self.lower, extrapolate=False)
            kinks += [(float(r), abs(float(slope(r)))) for r in crossings if np.isfinite(r)]
        return [(ratio, jump) for ratio, jump in kinks if abs(jump) > 1e-12]

    def __str__(self) -> str:
        """The formula of a polynomial; how many pieces otherwise."""
        if self.pieces.c.shape[1] > 1:
            return f"monotone spline of {self.pieces.c.shape[1]} pieces"
        powers = ("", " p", *(f" p^{k}" for k in range(2, self.pieces.c.shape[0])))
        terms = zip(self._coefficients(), powers, strict=False)
        text = "".join(f" {'-' if c < 0 else '+'} {abs(c):.4g}{power}" for c, power in terms if c)
        text = text.removeprefix(" + ").replace(" - ", "-", 1) if text.startswith(" - ") else text[3:]
        text = text or "0"
        return f"max({self.lower:g}, {text})" if np.isfinite(self.lower) else text

    def _coefficients(self) -> list[float]:
        """Of a single polynomial, the lowest power of the ratio first."""
        shifted = np.polynomial.Polynomial(self.pieces.c[::-1, 0])
        return [float(c) for c in shifted(np.polynomial.Polynomial([-self.pieces.x[0], 1.0])).coef]


def polynomial(
    coefficients: Sequence[float], *, lower: float = -np.inf, domain: tuple[float, float] = (0.0, 1.0)
) -> Curve:
    """The curve c0 + c1 p + c2 p^2 + ...

    Args:
        coefficients: c0, c1, ..., all finite.
        lower: the curve is never below it.
        domain: the ratios that it holds for.

    Raises:
        ValueError: no coefficients, or one that is not finite.
    """
    from scipy.interpolate import PPoly  # type: ignore[import-untyped]

    given = np.atleast_1d(np.asarray(coefficients, dtype=np.float64))
    if not given.size or not np.isfinite(given).all():
        raise UserError(f"coefficients are {list(coefficients)}: a curve needs one or more finite numbers")
    given = np.asarray(
        np.polynomial.polynomial.polytrim(given, _ROUNDING * np.abs(given).max()), dtype=np.float64
    )
    start = np.polynomial.Polynomial(given)(np.polynomial.Polynomial([domain[0], 1.0])).coef
    return Curve(PPoly(start[::-1, None], np.asarray(domain)), lower)


def parse(text: str | Sequence[float]) -> Curve:
    """A curve from a formula in p, or from a list of coefficients with the constant first.

    A formula is a polynomial with numbers, p, + - * ^ and brackets, in max(number, ...) or max(..., number)
    where it is limited from below: "85.28 - 10.35 p - 28.44 p^2", "10 (0.06 - 0.06 p)", "max(0, 85 - 90 p)".

    Raises:
        ValueError: anything else.
    """
    if not isinstance(text, str):
        return polynomial(text)
    for word in re.findall(r"[^\W\d]\w*", re.sub(_NUMBER, " ", text)):
        if word not in ("p", "max"):
            raise UserError(
                f"the curve {text!r} cannot be read: {word!r} is unknown, p stands for the pruning ratio"
            )
    python = re.sub(r"(?<=[\dp)])\s*(?=[p(])", "*", text.strip().replace("^", "**"))
    try:
        tree: ast.expr = ast.parse(python, mode="eval").body
        if isinstance(tree, ast.Call) and getattr(tree.func, "id", "") == "max" and not tree.keywords:
            return _limited(*map(_value, tree.args))
        return polynomial(_value(tree).coef.tolist())
    except (SyntaxError, TypeError, KeyError, OverflowError) as error:
        raise UserError(
            f"the curve {text!r} cannot be read: write a polynomial in p such as '85.3 - 10.4 p - 28.4 p^2'"
        ) from error


def check_curve(curve: Curve, name: str) -> None:
    """Refuse a curve that cannot be allocated over.

    Raises:
        ValueError: it is not finite on its domain, its domain is not in [0, 1], it jumps, or it rises with
            the ratio.
    """
    low, high = curve.domain
    if not 0 <= low < high <= 1:
        raise UserError(f"{name} holds for ratios from {low:g} to {high:g}: they must lie in [0, 1]")
    values = curve(np.linspace(low, high, _CELLS))
    if not np.isfinite(values).all():
        raise UserError(f"{name} is not finite on [{low:g}, {high:g}]: give finite coefficients")
    turns = curve.pieces.derivative().roots(extrapolate=False)
    ratios = np.unique(np.concatenate([curve.pieces.x, turns[np.isfinite(turns)]]))
    values = curve(ratios)  # between two of these ratios the curve only rises or only falls
    least = 1e-9 * max(1.0, float(np.ptp(values)))
    ends = np.maximum(curve.lower, _ends(curve.pieces)[:-1])
    jumps = np.flatnonzero(np.abs(curve(curve.pieces.x[1:-1]) - ends) > least)
    if len(jumps):
        raise UserError(
            f"{name} jumps at ratio {curve.pieces.x[1 + jumps[0]]:.3g}: join its pieces, so that it has one "
            "value there"
        )
    rises = np.flatnonzero(np.diff(values) > least)
    if len(rises):
        raise UserError(
            f"{name} rises from ratio {ratios[rises[0]]:.3g} on, but must fall or stay level as more is "
            "pruned: fit a monotone curve, or give other coefficients"
        )


def _ends(pieces: Any) -> Floats:
    """The value of each piece where it ends."""
    return np.array([np.polyval(pieces.c[:, i], width) for i, width in enumerate(np.diff(pieces.x))])


def _limited(one: np.polynomial.Polynomial, other: np.polynomial.Polynomial) -> Curve:
    """The larger of a number and a polynomial."""
    number, curve = (one, other) if one.trim().degree() == 0 else (other, one)
    if number.trim().degree() > 0:
        raise TypeError("max of two polynomials")
    return polynomial(curve.coef.tolist(), lower=float(number.coef[0]))


def _value(node: ast.expr) -> np.polynomial.Polynomial:
    """The polynomial that an expression stands for."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return np.polynomial.Polynomial([float(node.value)])
    if isinstance(node, ast.Name) and node.id == "p":
        return np.polynomial.Polynomial([0.0, 1.0])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        power = node.right.value if isinstance(node.right, ast.Constant) else None
        if isinstance(power, int) and 0 <= power <= MOST_POWER:
            return _value(node.left) ** power
    elif isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        found: np.polynomial.Polynomial = _OPERATORS[type(node.op)](left, right)
        return found
    raise TypeError("not part of a polynomial")
