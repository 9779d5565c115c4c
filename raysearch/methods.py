"""Searchers and schedulers by name: what a study writes, ``nsga2`` or ``{name: nsga2, population: 40}``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean

Choice = str | Mapping[str, Any]
"""A method's name, or a mapping of "name" and its options."""

# What a study hands to every searcher or scheduler; the rest of a constructor's arguments are its options.
_GIVEN = {"parameters", "goals", "seed", "initial", "identity", "max_step", "grace"}


@dataclass(frozen=True)
class Method:
    """A method that can be named.

    Args:
        place: the module and class that implement it, "raysearch.searchers.nsga2:NSGA2"; imported when used.
        summary: what it is, in a few words.
        fixed: options that the name itself sets.
    """

    place: str
    summary: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> type[Any]:
        """The class."""
        module, _, name = self.place.partition(":")
        found: type[Any] = getattr(importlib.import_module(module), name)
        return found

    def options(self) -> dict[str, inspect.Parameter]:
        """The options that a study may set, by name."""
        parameters = inspect.signature(self.load()).parameters
        return {name: p for name, p in parameters.items() if name not in _GIVEN and name not in self.fixed}


def check_choice(kind: str, given: Choice, methods: Mapping[str, Method]) -> dict[str, Any]:
    """A choice as {"name": ..., option: value, ...}, checked without making anything.

    Args:
        kind: "searcher" or "scheduler", for the messages.
        given: what the study says.
        methods: those that exist, by name.

    Raises:
        ValueError: the name or an option is unknown, or an option's value has a wrong type.
    """
    choice = {"name": given} if isinstance(given, str) else dict(given)
    name = choice.get("name")
    if not isinstance(name, str):
        raise UserError(f"{kind} is {given!r}: give a name, or {{name: ..., option: value}}")
    if name not in methods:
        raise UserError(f"{kind} is {name!r}; {did_you_mean(name, methods)}")
    if len(choice) == 1:
        return choice
    known = methods[name].options()
    hints = get_type_hints(methods[name].load().__init__)
    for option, value in choice.items():
        if option == "name":
            continue
        if option not in known:
            raise UserError(f"{kind} {name} has no option {option!r}; {did_you_mean(option, known)}")
        _check_type(f"{kind} {name}: {option}", value, hints[option])
    return choice


def name_of(choice: Choice) -> str:
    """The name in a choice that was checked."""
    return choice if isinstance(choice, str) else str(choice["name"])


def make(choice: Mapping[str, Any], methods: Mapping[str, Method], **given: Any) -> Any:
    """The method of a checked choice, fresh.

    Args:
        choice: as ``check_choice`` returns it.
        methods: those that exist, by name.
        given: what a study hands to every method of the kind; one that has no use for some does not get it.

    Raises:
        ValueError: an option's value is out of range.
        ImportError: it needs a package that is not installed.
    """
    method = methods[choice["name"]]
    taken = inspect.signature(method.load()).parameters
    options = {option: value for option, value in choice.items() if option != "name"}
    return method.load()(**{k: v for k, v in given.items() if k in taken}, **method.fixed, **options)


def _check_type(what: str, value: Any, hint: Any) -> None:
    try:
        TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"].replace("Input", "it")
        raise UserError(f"{what} is {value!r}: {message}") from None
