"""Choices among parts: a choice whose values are mappings, with domains of their own inside.

Tune's ``choice([{"kind": "conv", "kernel": choice([3, 5])}, {"kind": "pool"}])`` is a domain that holds
others, which no model-based searcher takes. Here it is opened: the choice becomes one among names, and what
each alternative holds stands beside it::

    {"one_of": choice(["conv", "pool"]), "conv": {"kind": "conv", "kernel": choice([3, 5])}, "pool": {...}}

so that all domains are plain; what only the alternatives that were not chosen hold is inactive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces import domains
from raysearch.search_spaces.keys import as_mapping, check_keys

ONE_OF = "one_of"
_PLAIN = (bool, int, float, str, type(None))


def opened(space: Mapping[str, Any], where: str = "architecture") -> dict[str, Any]:
    """The space with its choices among mappings opened, and its tuples as lists, as JSON has them.

    Args:
        space: nested Tune domains and constants.
        where: its name, for messages.

    Raises:
        UserError: a key that is no string, or a value that is none of JSON's.
    """
    for key in space:
        if not isinstance(key, str) or "/" in key:
            raise UserError(f"{where} has the key {key!r}: give names without '/'")
    if ONE_OF in space:
        _check_names(space, where)
    return {key: _opened(value, f"{where}/{key}") for key, value in space.items()}


def _check_names(space: Mapping[str, Any], where: str) -> None:
    """Refuse a mapping with ``one_of`` that does not hold what it names."""
    given = domains.read({ONE_OF: space[ONE_OF]}).get((ONE_OF,))
    for name in given.ends() if given else [space[ONE_OF]]:
        if name == ONE_OF or name not in space:
            raise UserError(
                f"{where} has the key 'one_of', which names what stands beside it, and no {name!r}: "
                "call it otherwise, or write choice([{...}, {...}])"
            )


def _opened(value: Any, where: str) -> Any:
    from ray import tune
    from ray.tune.search.sample import Categorical

    if isinstance(value, Categorical):
        values = [_opened(each, where) for each in value.categories]
        if not any(isinstance(each, Mapping) for each in values):
            return tune.choice(values)
        names = _names(values)
        return {ONE_OF: tune.choice(names), **dict(zip(names, values, strict=True))}
    if domains.is_domain(value):
        return value
    if isinstance(value, Mapping):
        return opened(value, where)
    if isinstance(value, (list, tuple)):
        return [_opened(each, where) for each in value]
    if not isinstance(value, _PLAIN):
        raise UserError(
            f"{where} holds {value!r:.80}: give names, numbers, true or false, or lists or mappings of them, "
            "and let the model's function make of them what they mean"
        )
    return value


def _names(values: Sequence[Any]) -> list[str]:
    """A name for each alternative: the text that tells them apart, or their numbers."""
    for key in next(list(v) for v in values if isinstance(v, Mapping)):
        names = [v.get(key) if isinstance(v, Mapping) else _text(v) for v in values]
        texts = [name for name in names if isinstance(name, str) and "/" not in name]
        if len(set(texts)) == len(values) and ONE_OF not in texts:
            return texts
    return [f"{number}" for number in range(len(values))]


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


def resolved(config: Any) -> Any:
    """A config as the model's function takes it: of each choice among alternatives the chosen one.

    Its mappings and lists are the caller's own.

    Raises:
        UserError: a name that is no alternative.
    """
    if isinstance(config, list):
        return [resolved(each) for each in config]
    if not isinstance(config, Mapping):
        return config
    if ONE_OF in config:
        return resolved(chosen(config))
    return {key: resolved(value) for key, value in config.items()}


def chosen(config: Mapping[str, Any]) -> Any:
    """The chosen alternative of a mapping with ``one_of``.

    Raises:
        UserError: there is none of that name.
    """
    name = config[ONE_OF]
    if name not in config or name == ONE_OF:
        known = ", ".join(key for key in config if key != ONE_OF)
        raise UserError(f"architecture: one_of is {name!r}, which is none of {known}")
    return config[name]


def as_opened(config: Any, space: Any, where: str = "architecture") -> Any:
    """A config as the model's function takes it, in the form of the opened space; one that has it stays.

    Args:
        config: nested values; some may be missing.
        space: opened.
        where: its name, for messages.

    Raises:
        UserError: a part that fits no alternative.
    """
    if not isinstance(space, Mapping) or domains.is_domain(space):
        return _as_drawn(list(config) if isinstance(config, tuple) else config, space)
    if ONE_OF in space:
        if isinstance(config, Mapping) and ONE_OF in config:
            name = config[ONE_OF]
            check_keys([name], [key for key in space if key != ONE_OF], where)
            inner = {name: as_opened(config[name], space.get(name), where)} if name in config else {}
            return {ONE_OF: name, **inner}
        for name in domains.read(space)[(ONE_OF,)].ends() if domains.read(space) else [space[ONE_OF]]:
            if _fits(config, space[name]):
                return {ONE_OF: name, name: as_opened(config, space[name], where)}
        known = ", ".join(key for key in space if key != ONE_OF)
        raise UserError(f"{where} is {config!r}, which fits none of the alternatives {known}")
    given = as_mapping(config, where)
    check_keys(given, space, where)
    return {key: as_opened(value, space[key], f"{where}/{key}") for key, value in given.items()}


def _as_drawn(value: Any, domain: Any) -> Any:
    """A value of the type that the domain draws: 16 and 16.0 are one."""
    if not domains.is_domain(domain):
        return value
    values = domains.read({"value": domain})[("value",)]
    if isinstance(values, domains.Choices):
        return next((each for each in values.values if each == value and type(each) is not bool), value)
    if domains.is_number(value) and (not values.integer or value % 1 == 0):
        return int(value) if values.integer else float(value)
    return value


def _fits(value: Any, alternative: Any) -> bool:
    """Whether a value can be what an alternative of an opened space describes."""
    if domains.is_domain(alternative):
        return domains.contains(domains.read({"value": alternative})[("value",)], value)
    if not isinstance(alternative, Mapping):
        return bool(resolved(alternative) == value)
    if not isinstance(value, Mapping):
        return ONE_OF in alternative and any(_fits(value, each) for each in _alternatives(alternative))
    if ONE_OF in alternative:
        return any(_fits(value, each) for each in _alternatives(alternative))
    return value.keys() <= alternative.keys() and all(_fits(value[k], alternative[k]) for k in value)


def _alternatives(space: Mapping[str, Any]) -> Iterator[Any]:
    return (each for name, each in space.items() if name != ONE_OF)
