"""One sentence for each mistake in a study file: the key, its value and what is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from raysearch.basics.spelling import did_you_mean

#: pydantic's error type -> what to write instead.
_ADVICE = {
    "int_type": "give a whole number",
    "float_type": "give a number",
    "string_type": "give a text",
    "list_type": "give a list",
    "bool_type": "give true or false",
    "dict_type": "give a mapping",
    "model_type": "give a mapping",
    "model_attributes_type": "give a mapping",
    "too_short": "give at least one",
    "finite_number": "give a finite number",
}
_BOUNDS = {"greater_than": "more than", "greater_than_equal": "at least", "less_than": "less than"}


def sentences(error: ValidationError, schema: type[BaseModel], whole: str) -> str:
    """One line per mistake.

    Args:
        error: pydantic's.
        schema: what it validated.
        whole: what to call the document.
    """
    return "\n".join(_sentence(e, schema, whole) for e in error.errors())


def _sentence(error: Mapping[str, Any], schema: type[BaseModel], whole: str) -> str:
    location = [str(part) for part in error["loc"]]
    where, kind, value = ".".join(location), error["type"], error["input"]
    if kind == "extra_forbidden":
        section = ".".join(location[:-1])
        place = f"{section} has" if section else f"{whole} has"
        known = _keys(location[:-1], schema)
        return f"{place} an unknown key {location[-1]!r}; {did_you_mean(location[-1], known)}"
    if kind == "missing":
        return f"the key {where} is missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "literal_error":
        choices = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"{where} is {value!r}; {did_you_mean(str(value), choices)}"
    if kind in _BOUNDS:
        (limit,) = error["ctx"].values()
        return f"{where} is {value!r}: give {_BOUNDS[kind]} {limit:g}"
    if kind == "string_type" and isinstance(value, float):
        return f"{where} is {value!r}: give a text, as it is called, in quotes"
    advice = _ADVICE.get(kind, error["msg"][:1].lower() + error["msg"][1:].replace("Input", "it"))
    return f"{where} is {value!r}: {advice}"


def _keys(location: Iterable[str], schema: type[BaseModel]) -> list[str]:
    """The known keys of the section at this place of the schema."""
    section: Any = schema
    for name in location:
        annotation = section.model_fields[name].annotation
        options = getattr(annotation, "__args__", (annotation,))
        section = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(section.model_fields)
