"""Names in a config: spelling errors with the nearest known name, and which part a layer belongs to."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean

SECTIONS = ("architecture", "pruning", "bits", "teacher", "training")


def check_keys(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse a name that is not known, with the nearest one that is.

    Raises:
        ValueError: a name in ``given`` is not in ``known``.
    """
    names = tuple(known)
    for name in given:
        if name not in names:
            raise UserError(f"{where} has no key {name!r}; {did_you_mean(str(name), names)}")


def as_mapping(value: Any, where: str) -> Mapping[str, Any]:
    """The value itself, refused unless it is a mapping.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {value!r}, not a mapping of names to values")
    return value


def as_integer(value: Any, where: str) -> int:
    """A whole number, whatever its type, as Python's own.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1 != 0:
        raise UserError(f"{where} is {value!r}, not a whole number")
    return int(value)


def as_float(value: Any, where: str) -> float:
    """A number, whatever its type, as Python's own float.

    Raises:
        UserError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{where} is {value!r}, not a number")
    return float(value)


def as_truth(value: Any, where: str) -> bool:
    """True or false, however it is written.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise UserError(f"{where} is {value!r}, neither true nor false")
    return bool(value)


def belongs(layer: str, part: str) -> bool:
    """Whether a layer is the part itself or lies inside it ("stage1.0.conv1" lies in "stage1")."""
    return layer == part or layer.startswith(part + ".")


def part_of(layer: str, parts: Container[str]) -> str | None:
    """The innermost of the parts that the layer belongs to, or None."""
    while layer and layer not in parts:
        layer = layer.rpartition(".")[0]
    return layer or None
