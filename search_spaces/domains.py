"""The one reader of Ray Tune's domains: what each of them draws, and the walk through a nested space.

Tune's rules, as its samplers follow them: ``randint`` and ``lograndint`` exclude their upper bound; a domain
quantised by q draws the multiples of q between its bounds, both included, but an integer one with q = 1
excludes its upper bound like ``randint``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.basics.failures import UserError

Path = tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """A domain that draws one of some values, in their order."""

    values: tuple[Any, ...]

    def nearest(self, value: Any) -> Any:
        """The choice nearest to a value.

        Numbers compare by distance, the smaller one on a tie; where the value is no number or not all choices
        are, it is the value itself if that is a choice, and otherwise the first choice.
        """
        same = [c for c in self.values if c == value and type(c) is type(value)]
        if same:
            return same[0]
        if all(is_number(c) for c in (*self.values, value)):
            return min(self.values, key=lambda c: (abs(c - value), c))
        return self.values[0]

    def middle(self) -> Any:
        """The first of the choices."""
        return self.values[0]

    def ends(self) -> list[Any]:
        """All choices."""
        return list(self.values)


@dataclass(frozen=True)
class Numbers:
    """A domain that draws numbers from ``low`` to ``high``, both included.

    Args:
        integer: whether they are integers; else floats.
        low: the lowest.
        high: the highest.
        step: they are multiples of it; None: a continuous range.
        log: whether their logarithm is spread evenly.
    """

    integer: bool
    low: float
    high: float
    step: float | None
    log: bool

    def nearest(self, value: Any) -> float:
        """The number drawn that is nearest to another number."""
        number = float(value) if self.step is None else self.step * round(value / self.step)
        return self._typed(min(max(number, self.low), self.high))

    def middle(self) -> float:
        """The middle of the range, geometric on a logarithmic scale."""
        return self.nearest(math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2)

    def ends(self) -> list[float]:
        """The lowest and the highest number."""
        return [self._typed(self.low), self._typed(self.high)]

    def _typed(self, number: float) -> float:
        return int(number) if self.integer else float(number)


@dataclass(frozen=True)
class Prior:
    """How likely the choices of a parameter are in a random draw.

    Attributes:
        odds: of each choice, relative to one another; empty: all alike.
        partner: another parameter, which is drawn first; empty: none.
        fitting: the choices that fit each value of the partner; a value that is not named fits all.
    """

    odds: tuple[float, ...] = ()
    partner: Path = ()
    fitting: tuple[tuple[Any, tuple[Any, ...]], ...] = ()


Values = Choices | Numbers


def contains(values: Values, value: Any) -> bool:
    """Whether the domain can give this value."""
    if isinstance(values, Numbers) and not is_number(value):
        return False
    found = values.nearest(value)
    if is_number(found) and is_number(value):
        return math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-9)
    return type(found) is type(value) and bool(found == value)


def is_domain(value: Any) -> bool:
    """Whether the value is one of Tune's search domains, a grid included."""
    from ray.tune.search.sample import Domain

    return isinstance(value, Domain) or (isinstance(value, Mapping) and set(value) == {"grid_search"})


def varies(space: Any) -> bool:
    """Whether a nested space holds any domain."""
    return any(is_domain(leaf) for _, leaf in _leaves(space))


def read(space: Mapping[str, Any]) -> dict[Path, Values]:
    """What the domains of a nested space draw, by their paths, in the space's order; constants are left out.

    Raises:
        ValueError: a domain that no searcher models (a grid, a function, an unbounded one), one without any
            value, or one that stands inside a list, inside a choice, or under a key that is no string.
    """
    return {
        path: _read("/".join(map(str, path)), path, leaf) for path, leaf in _leaves(space) if is_domain(leaf)
    }


def _leaves(space: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    if isinstance(space, Mapping | list | tuple) and not is_domain(space):
        for key, value in space.items() if isinstance(space, Mapping) else enumerate(space):
            yield from _leaves(value, (*path, key))
    else:
        yield path, space


def _read(name: str, path: tuple[Any, ...], domain: Any) -> Values:
    from ray.tune.search.sample import Categorical

    if not all(isinstance(key, str) for key in path):
        raise UserError(
            f"{name} is a domain inside a list or under a key that is no string: use a dict of strings"
        )
    if isinstance(domain, Mapping) or domain.is_grid() or domain.is_function():
        raise UserError(f"{name} is a grid or a function, which no searcher models: use tune.choice([...])")
    return _choices(name, domain.categories) if isinstance(domain, Categorical) else _numbers(name, domain)


def _numbers(name: str, domain: Any) -> Numbers:
    from ray.tune.search.sample import Integer, LogUniform, Quantized

    integer, sampler = isinstance(domain, Integer), domain.get_sampler()
    low, high = domain.lower, domain.upper
    step: float | None = 1 if integer else None
    if isinstance(sampler, Quantized):
        step, sampler = sampler.q, sampler.sampler
    _check_bounds(name, low, high, step, whole=integer)
    if integer and step == 1:
        high -= 1
    if step is not None:
        # The tolerance is for bounds such as 0.8, which is 16 steps of 0.05 up to a rounding error.
        low, high = step * math.ceil(low / step - 1e-9), step * math.floor(high / step + 1e-9)
    if low > high:
        raise UserError(
            f"{name} has no multiple of {step} from {domain.lower} to {domain.upper}: change q or the bounds"
        )
    return Numbers(integer, low, high, step, isinstance(sampler, LogUniform))


def _choices(name: str, values: Any) -> Choices:
    if not values:
        raise UserError(f"{name} is a choice among nothing: give at least one value")
    if any(is_domain(leaf) for _, leaf in _leaves(values)):
        raise UserError(f"{name} is a choice that holds a domain: a searcher models plain values only")
    return Choices(tuple(values))


def _check_bounds(name: str, low: float, high: float, step: float | None, *, whole: bool) -> None:
    if math.isinf(low) or math.isinf(high):
        raise UserError(f"{name} has no bounds: use tune.uniform or tune.loguniform")
    if not low < high:
        raise UserError(f"{name} goes from {low} to {high}: the first bound must be below the second")
    if step is not None and not step > 0:
        raise UserError(f"{name} is quantised by {step}: q must be above 0")
    if whole and any(number % 1 for number in (low, high, step or 1)):
        raise UserError(f"{name} draws integers from {low} to {high} by {step}: all three must be whole")


def constants(space: Mapping[str, Any]) -> dict[str, Any]:
    """The nested space without its domains: only what is fixed."""
    fixed = {}
    for key, value in space.items():
        if isinstance(value, Mapping) and not is_domain(value):
            fixed[key] = constants(value)
        elif not is_domain(value):
            fixed[key] = value
    return fixed


def nested(flat: Mapping[Path, Any]) -> dict[str, Any]:
    """A nested mapping from leaves by their paths."""
    result: dict[str, Any] = {}
    for path, value in flat.items():
        inner = result
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return result


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping with the values of ``over``, and of ``under`` where it has none."""
    result = dict(under)
    for key, value in over.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return result


def is_number(value: Any) -> bool:
    """Whether the value is a Python number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
