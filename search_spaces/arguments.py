"""Tune's domains from the arguments of the space functions: one value is a constant, several are searched."""

from __future__ import annotations

import math
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces.domains import is_number


def integers(name: str, value: int | tuple[int, ...], step: int = 1) -> Any:
    """A Tune domain for an int (constant) or an inclusive range (low, high) in steps.

    Raises:
        ValueError: low >= high, a value below one step, or a bound that is no multiple of the step.
    """
    from ray import tune

    bounds = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(bounds) not in (1, 2) or not all(isinstance(b, int) and not isinstance(b, bool) for b in bounds):
        raise UserError(f"{name}={value!r} is neither an int nor a pair of ints (low, high)")
    if min(bounds) < 1:
        raise UserError(f"{name}={value!r} must be at least 1")
    if len(bounds) == 1:
        return bounds[0]
    low, high = bounds
    if low >= high:
        raise UserError(f"{name}=({low}, {high}): low must be below high (one int gives a constant)")
    if step == 1:
        return tune.randint(low, high + 1)
    if low % step or high % step:
        raise UserError(f"{name}=({low}, {high}): both bounds must be multiples of the step {step}")
    return tune.qrandint(low, high, step)


def floats(name: str, value: float | tuple[float, float]) -> Any:
    """A uniform Tune domain for a range (low, high), or the constant itself.

    Raises:
        ValueError: low >= high.
    """
    from ray import tune

    bounds = value if isinstance(value, (tuple, list)) else (value,)
    if not all(is_number(bound) and math.isfinite(bound) for bound in bounds):
        raise UserError(f"{name}={value!r} is neither a finite number nor a pair of them (low, high)")
    if not isinstance(value, (tuple, list)):
        return float(value)
    if len(value) != 2 or not value[0] < value[1]:
        raise UserError(f"{name}={value!r}: low must be below high (one number gives a constant)")
    return tune.uniform(float(value[0]), float(value[1]))


def one_of(name: str, values: Any, legal: tuple[Any, ...]) -> Any:
    """A Tune choice among the values, or the constant itself where there is only one.

    Raises:
        ValueError: no value, one given twice, or one that is not legal.
    """
    from ray import tune

    values = tuple(values) if isinstance(values, (tuple, list)) else (values,)
    wrong = [v for v in values if v not in legal]
    if not values or wrong or len(set(values)) < len(values):
        known = ", ".join(map(str, legal))
        raise UserError(f"{name}={values!r} must name each value once, from {known}")
    return values[0] if len(values) == 1 else tune.choice(list(values))


def names(exclude: Any) -> tuple[str, ...]:
    """The names of layers or parts that are left out.

    Raises:
        UserError: it is no list of names.
    """
    if isinstance(exclude, str) or not all(isinstance(name, str) for name in exclude):
        raise UserError(f"exclude={exclude!r}: give a list of names of layers or parts")
    return tuple(exclude)
