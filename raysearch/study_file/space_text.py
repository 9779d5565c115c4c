"""A search space as plain data: Ray Tune's domains and raysearch's space functions, read and written.

In a study file a domain is a mapping of one key, ``{loguniform: [1e-4, 1e-2]}``, and a space function
likewise, ``{resnet: {depth: [1, 3]}}``. Reading gives what ``Study(space=...)`` takes; ``dump_space``
writes a space of Tune domains back, so that reading it again gives the same domains.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

from ray import tune
from ray.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Quantized, Uniform

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean, nearest

#: Domain -> its arguments, as in ``ray.tune``.
DOMAINS = {
    "uniform": ("low", "high"),
    "quniform": ("low", "high", "q"),
    "loguniform": ("low", "high"),
    "qloguniform": ("low", "high", "q"),
    "randint": ("low", "high"),
    "qrandint": ("low", "high", "q"),
    "lograndint": ("low", "high"),
    "qlograndint": ("low", "high", "q"),
    "choice": ("value", "..."),
}

#: Key of the space -> the functions of ``raysearch.search_spaces`` that can stand there.
FUNCTIONS = {
    "architecture": ("resnet", "mobilenet", "vit", "conv1d", "mlp", "nni_hub"),
    "pruning": ("channel_pruning", "weight_sparsity"),
    "bits": ("bit_widths",),
    "teacher": ("teachers",),
    "training": (),
}


def parse_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """Read the ``space`` of a study file.

    Args:
        space: the five fixed keys (any may be absent), each a space function or a nested mapping of domains
            and constants.

    Returns:
        What ``Study(space=...)`` takes.

    Raises:
        ValueError: an unknown function, domain or argument, or a domain with low >= high; the message names
            the key.
    """
    return {key: _parse_key(key, value) for key, value in space.items()}


def _parse_key(key: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"space.{key} is {value!r}: give a mapping")
    functions = FUNCTIONS[key]
    if len(value) == 1:
        name, arguments = next(iter(value.items()))
        if name in functions:
            return _call(f"space.{key}.{name}", name, arguments)
        if nearest(name, functions) and not _is_domain(value):
            raise UserError(f"space.{key} has no {name!r}; {did_you_mean(name, functions)}")
    if key == "architecture" and len(value) > 1 and all(name in functions for name in value):
        raise UserError(f"space.architecture has {' and '.join(value)}: give one of them")
    if key == "pruning" and len(value) > 1 and any(name in functions for name in value):
        for name in value:
            if name not in functions:
                raise UserError(f"space.{key} has no {name!r}; {did_you_mean(name, functions)}")
        made = [_call(f"space.{key}.{name}", name, arguments) for name, arguments in value.items()]
        return functools.reduce(operator.or_, made)
    return _parse_node(f"space.{key}", value)


def _is_domain(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in DOMAINS


def _parse_node(where: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if _is_domain(value):
        name, arguments = next(iter(value.items()))
        return parse_domain(where, name, arguments)
    if len(value) == 1 and isinstance(next(iter(value.values())), list):
        name = next(iter(value))
        raise UserError(f"{where} has an unknown domain {name!r}; {did_you_mean(name, DOMAINS)}")
    return {key: _parse_node(f"{where}.{key}", child) for key, child in value.items()}


def parse_domain(where: str, name: str, arguments: Any) -> Domain:
    """One Tune domain from its name and its list of arguments.

    Args:
        where: the key it stands at, for messages.
        name: a key of DOMAINS.
        arguments: [low, high], [low, high, q], or the values of a choice.

    Raises:
        ValueError: wrong arguments, or low >= high.
    """
    wanted = DOMAINS[name]
    if not isinstance(arguments, list) or (name == "choice" and not arguments):
        raise UserError(f"{where}: {name} is {arguments!r}: give the list [{', '.join(wanted)}]")
    if name == "choice":
        return cast(Domain, tune.choice([_parse_node(where, value) for value in arguments]))
    number = (int,) if "int" in name else (int, float)
    if len(arguments) != len(wanted) or not all(type(a) in number for a in arguments):
        kind = "whole numbers" if "int" in name else "numbers"
        raise UserError(f"{where}: {name} is {arguments}: give the {kind} [{', '.join(wanted)}]")
    if not all(math.isfinite(a) for a in arguments):
        raise UserError(f"{where}: {name} is {arguments}: give finite numbers")
    low, high, *step = arguments
    if low >= high:
        raise UserError(f"{where}: {name} is {arguments}: low must be less than high")
    if "log" in name and low <= 0:
        raise UserError(f"{where}: {name} is {arguments}: low must be greater than 0 on a logarithmic scale")
    if step and step[0] <= 0:
        raise UserError(f"{where}: {name} is {arguments}: the step q must be greater than 0")
    try:
        return cast(Domain, getattr(tune, name)(*arguments))
    except ValueError as error:  # a step that does not divide the bounds
        raise UserError(f"{where}: {name} is {arguments}: {error}") from None


def _call(where: str, name: str, arguments: Any) -> Any:
    from raysearch import search_spaces

    function: Callable[..., Any] = getattr(search_spaces, name)
    positional, keywords = _bind_arguments(where, function, arguments)
    try:
        return function(*positional, **keywords)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {error}") from None


def _bind_arguments(
    where: str, function: Callable[..., Any], arguments: Any
) -> tuple[list[Any], dict[str, Any]]:
    parameters = inspect.signature(function).parameters
    many = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    if isinstance(arguments, list) and many:
        return arguments, {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise UserError(f"{where} is {arguments!r}: give its arguments as a mapping")
    known = [p for p in parameters if p != "over"]  # `over` takes Python objects; a Study binds it
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in arguments:
        if key not in known and not open_ended:
            raise UserError(f"{where} has no argument {key!r}; {did_you_mean(key, known)}")
    keywords = {key: _tuples(value) for key, value in arguments.items()}
    positional = keywords.pop(many, ()) if many else ()
    if not isinstance(positional, tuple):
        raise UserError(f"{where}: {many} is {positional!r}: give a list")
    return list(positional), keywords


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def dump_space(space: Any) -> Any:
    """Write a (nested) space of Tune domains and constants as plain data that ``parse_space`` reads.

    Raises:
        ValueError: a domain that has no such form (``sample_from``, ``randn``, ``grid_search``).
    """
    return _dump_node("space", space)


def _dump_node(where: str, value: Any) -> Any:
    if isinstance(value, Domain):
        return _dump_domain(where, value)
    if isinstance(value, Mapping):
        if "grid_search" in value:
            raise UserError(f"{where} is a grid_search: a searcher samples domains, use choice instead")
        return {str(key): _dump_node(f"{where}.{key}", child) for key, child in value.items()}
    return _plain(value)


def _dump_domain(where: str, domain: Domain) -> dict[str, list[Any]]:
    if isinstance(domain, Categorical):
        return {"choice": [_plain(c) for c in domain.categories]}
    sampler: Any = domain.get_sampler()  # type: ignore[no-untyped-call]
    step = []
    if isinstance(sampler, Quantized):
        sampler, step = sampler.sampler, [_plain(sampler.q)]
    form = "log" if isinstance(sampler, LogUniform) else ""
    if not isinstance(sampler, (Uniform, LogUniform)) or not isinstance(domain, (Float, Integer)):
        raise UserError(f"{where} is a domain that a study file cannot hold; known: {', '.join(DOMAINS)}")
    kind = "uniform" if isinstance(domain, Float) else "randint"
    name = ("q" if step else "") + form + kind
    return {name: [_plain(domain.lower), _plain(domain.upper), *step]}


def _plain(value: Any) -> Any:
    """Tuples as lists and NumPy's scalars as Python's: what YAML and JSON can hold."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value
