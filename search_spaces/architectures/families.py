"""The ready families of architectures, by name, and what is common to them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces.architectures.architecture import Architecture
from raysearch.search_spaces.architectures.resnet import decode_resnet, parts_of_resnet

Decode = Callable[[Mapping[str, Any]], Architecture]


@dataclass(frozen=True)
class Family:
    """A ready family of architectures.

    Attributes:
        decode: the plan of a config.
        possible_parts: the parts that networks of an architecture space can have, in order; the last is the
            output, which is never pruned.
    """

    decode: Decode
    possible_parts: Callable[[Mapping[str, Any]], tuple[str, ...]]


FAMILIES = {"resnet": Family(decode_resnet, parts_of_resnet)}
DEFAULT = "resnet"  # of a config that names no family


def is_own(config: Mapping[str, Any]) -> bool:
    """Whether a config, or a space, is none of a ready family's."""
    family = config.get("family")
    return not (isinstance(family, str) and family in FAMILIES)


def decode_architecture(config: Mapping[str, Any], own: Decode | None = None) -> Architecture:
    """The plan of an architecture config.

    Args:
        config: of a ready family, whose name is its "family"; without one, a residual network's.
        own: decodes what is of no ready family, where the model is made by a user's function.

    Raises:
        UserError: an unknown family or key, a missing part, or a value out of range.
    """
    if own is not None and is_own(config):
        return own(config)
    return _family(config).decode(config)


def possible_parts(space: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts that networks of a ready family's architecture space can have, the output last.

    Raises:
        UserError: the mapping is no architecture space of a ready family.
    """
    return _family(space).possible_parts(space)


def enlarge(architecture: Mapping[str, Any], factor: int = 2) -> dict[str, Any]:
    """The architecture config of a larger teacher: every width times ``factor``.

    Raises:
        UserError: the architecture cannot be decoded, or the factor is below 2.
    """
    if factor < 2:
        raise UserError(f"factor={factor} does not enlarge: it must be at least 2")
    return decode_architecture(architecture).enlarged(factor).encode()


def _family(config: Mapping[str, Any]) -> Family:
    name = config.get("family", DEFAULT)
    if name not in FAMILIES:
        raise UserError(f"architecture/family is {name!r}; {did_you_mean(str(name), FAMILIES)}")
    return FAMILIES[name]
