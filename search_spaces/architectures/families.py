"""The ready families of architectures, by name, and what is common to them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces.architectures.architecture import Architecture
from raysearch.search_spaces.architectures.conv1d import Conv1dPlan, decode_conv1d
from raysearch.search_spaces.architectures.mlp import MLPPlan, decode_mlp
from raysearch.search_spaces.architectures.mobilenet import MobileNetPlan, decode_mobilenet
from raysearch.search_spaces.architectures.numbered import Form
from raysearch.search_spaces.architectures.resnet import ResNetPlan, decode_resnet
from raysearch.search_spaces.architectures.vit import ViTPlan, decode_vit

Decode = Callable[[Mapping[str, Any]], Architecture]


@dataclass(frozen=True)
class Family:
    """A ready family of architectures.

    Attributes:
        decode: the plan of a config.
        form: the parts that its networks can have.
    """

    decode: Decode
    form: Form


FAMILIES = {
    "resnet": Family(decode_resnet, ResNetPlan.FORM),
    "mobilenet": Family(decode_mobilenet, MobileNetPlan.FORM),
    "vit": Family(decode_vit, ViTPlan.FORM),
    "conv1d": Family(decode_conv1d, Conv1dPlan.FORM),
    "mlp": Family(decode_mlp, MLPPlan.FORM),
}
DEFAULT = "resnet"  # of a config that names no family


def is_own(config: Mapping[str, Any]) -> bool:
    """Whether a config, or a space, is none of a ready family's."""
    family = config.get("family")
    return not (isinstance(family, str) and family in FAMILIES)


def decode_architecture(config: Mapping[str, Any], own: Decode | None = None) -> Architecture:
    """The plan of an architecture config.

    Args:
        config: of a ready family, whose name is its "family"; without one, a residual network's.
        own: decodes what is of no ready family, where the model is made by a user's function; see ``is_own``.

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
    return _family(space).form.possible_parts(space)


def prunable_parts(space: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of the possible parts that can lose channels.

    Raises:
        UserError: the mapping is no architecture space of a ready family.
    """
    whole = _family(space).form.whole
    return tuple(part for part in possible_parts(space)[:-1] if part not in whole)


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
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"architecture/family is {name!r}; {did_you_mean(str(name), FAMILIES)}")
    return FAMILIES[name]
