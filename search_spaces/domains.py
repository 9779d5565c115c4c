"""Reading Ray Tune's domains: walking a nested space, checking bounds, nearest legal and middle values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from raysearch.basics.failures import UserError

if TYPE_CHECKING:
    from ray.tune.search.sample import Domain

Path = tuple[str, ...]


def is_domain(value: Any) -> bool:
    """Whether the value is one of Tune's search domains."""
    from ray.tune.search.sample import Domain

    return isinstance(value, Domain)


def leaves(space: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """All leaves of a nested space, domains and constants, each with its path."""
    for key, value in space.items():
        if isinstance(value, Mapping) and set(value) != {"grid_search"}:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def searched(space: Mapping[str, Any]) -> dict[Path, Domain]:
    """The leaves of a nested space that are domains."""
    return {path: leaf for path, leaf in leaves(space) if is_domain(leaf)}


def constants(space: Mapping[str, Any]) -> dict[str, Any]:
    """The nested space without its domains: only what is fixed."""
    fixed = {}
    for key, value in space.items():
        if isinstance(value, Mapping):
            fixed[key] = constants(value)
        elif not is_domain(value):
            fixed[key] = value
    return fixed


def check_domain(path: Path, domain: Any) -> None:
    """Refuse what cannot be searched.

    Raises:
        ValueError: a grid or a function instead of a domain, no choices, or bounds with low >= high.
    """
    from ray.tune.search.sample import Categorical, Float, Integer

    name = "/".join(path)
    if isinstance(domain, Mapping) or (is_domain(domain) and (domain.is_grid() or domain.is_function())):
        raise UserError(f"{name} is a grid or a function, which no searcher models: use tune.choice([...])")
    if isinstance(domain, Categorical) and not domain.categories:
        raise UserError(f"{name} is a choice among nothing: give at least one value")
    if isinstance(domain, (Float, Integer)):
        if math.isinf(domain.lower) or math.isinf(domain.upper):
            raise UserError(f"{name} has no bounds: use tune.uniform or tune.loguniform")
        if domain.lower >= domain.upper:
            raise UserError(
                f"{name} goes from {domain.lower} to {domain.upper}: the first bound must be below the second"
            )


def _step(domain: Any) -> float | None:
    from ray.tune.search.sample import Integer, Quantized

    sampler = domain.get_sampler()
    if isinstance(sampler, Quantized):
        return float(sampler.q)
    return 1.0 if isinstance(domain, Integer) else None


def _bounds(domain: Any) -> tuple[float, float]:
    """The lowest and highest value that the domain can give, both included."""
    from ray.tune.search.sample import Integer, Quantized

    sampler = domain.get_sampler()
    exclusive = isinstance(domain, Integer) and (not isinstance(sampler, Quantized) or sampler.q == 1)
    step = _step(domain)
    low, high = float(domain.lower), float(domain.upper) - (1 if exclusive else 0)
    if step is not None:
        low, high = step * math.ceil(low / step - 1e-9), step * math.floor(high / step + 1e-9)
    return low, high


def nearest(domain: Any, value: Any) -> Any:
    """The legal value of a domain that is nearest to ``value``.

    Choices among numbers compare by distance, the smaller one on a tie; other choices fall back on the
    first when ``value`` is not among them.
    """
    from ray.tune.search.sample import Categorical

    if isinstance(domain, Categorical):
        choices = domain.categories
        same = [c for c in choices if c == value and type(c) is type(value)]
        if same:
            return same[0]
        if all(_is_number(c) for c in (*choices, value)):
            return min(choices, key=lambda c: (abs(c - value), c))
        return choices[0]
    low, high = _bounds(domain)
    step = _step(domain)
    number = float(value)
    if step is not None:
        number = step * round(number / step)
    return domain.cast(min(max(number, low), high))


def middle(domain: Any) -> Any:
    """The middle of a domain: geometric for a log scale; the first of the choices for a categorical one."""
    from ray.tune.search.sample import Categorical, LogUniform, Quantized

    if isinstance(domain, Categorical):
        return domain.categories[0]
    sampler = domain.get_sampler()
    inner = sampler.sampler if isinstance(sampler, Quantized) else sampler
    low, high = _bounds(domain)
    centre = math.sqrt(low * high) if isinstance(inner, LogUniform) else (low + high) / 2
    return nearest(domain, centre)


def ends(domain: Any) -> list[Any]:
    """All choices of a categorical domain; of a range its two ends, both legal."""
    from ray.tune.search.sample import Categorical

    if isinstance(domain, Categorical):
        return list(domain.categories)
    return [domain.cast(bound) for bound in _bounds(domain)]


def nested(flat: Mapping[Path, Any]) -> dict[str, Any]:
    """A nested mapping from leaves by their paths."""
    result: dict[str, Any] = {}
    for path, value in flat.items():
        inner = result
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return result


def contains(domain: Any, value: Any) -> bool:
    """Whether the domain can give this value."""
    found = nearest(domain, value)
    if _is_number(found) and _is_number(value):
        return math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-9)
    return type(found) is type(value) and found == value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


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
    if not all(map(_is_number, bounds)):
        raise UserError(f"{name}={value!r} is neither a number nor a pair of numbers (low, high)")
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
