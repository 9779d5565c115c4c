"""What a value in a journal may be: plain functions, for each line of a long run passes some ten of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_LARGEST = 2**63  # a larger whole number no array holds
_LAST_TIME = 253_402_300_800.0  # the year 10,000


def is_text(value: Any) -> bool:
    """Whether it is a text."""
    return type(value) is str


def is_mapping(value: Any) -> bool:
    """Whether it is a mapping."""
    return type(value) is dict


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 0 on, such as a step."""
    return type(value) is int and 0 <= value < 10**9


def is_number(value: Any) -> bool:
    """A number, finite or not: a loss may be NaN."""
    return type(value) is float or (type(value) is int and -_LARGEST < value < _LARGEST)


def is_time(value: Any) -> bool:
    """Whether it is a number of seconds, up to the year 10,000."""
    return is_number(value) and 0 <= value < _LAST_TIME


def is_values(value: Any) -> bool:
    """Whether it gives a number for each name."""
    return type(value) is dict and all(map(is_number, value.values()))


def is_texts(value: Any) -> bool:
    """Whether it is a list of texts."""
    return type(value) is list and all(type(item) is str for item in value)


def is_texts_by_name(value: Any) -> bool:
    """Whether it gives a text for each name."""
    return type(value) is dict and all(type(item) is str for item in value.values())


def is_parts(value: Any) -> bool:
    """Whether it gives a list of numbers for each name."""
    lists = type(value) is dict and all(type(part) is list for part in value.values())
    return lists and all(all(map(is_number, part)) for part in value.values())


def is_measurements(value: Any) -> bool:
    """Whether it is a list of measurements, each with its target."""
    return type(value) is list and all(map(_is_measurement, value))


def _is_prediction(value: Mapping[str, Any]) -> bool:
    """A latency in a measurement's place: what is read of it is there."""
    interval = value["interval"]
    return (
        type(interval) is list
        and len(interval) == 2
        and all(map(is_number, interval))
        and is_number(value.get("latency_ms"))
        and is_count(value.get("models"))
        and all(type(value.get(name)) is str for name in ("runtime", "version"))
    )


def _is_learnt_from(value: Mapping[str, Any]) -> bool:
    """A measurement with its model's operators, by which latencies are predicted."""
    known = type(value["operators"]) is dict and type(value.get("structure")) is str
    return known and is_number(value.get("latency_ms"))


_TEXTS = ("target", "key", "structure", "reference", "runtime", "version", "device", "source")
_NUMBERS = ("latency_ms", "ratio", "reference_ms", "noise", "contention", "slowdown", "samples", "seconds")
_EXIT_NUMBERS = ("early_ms", "early_noise")


def _is_measurement(value: Any) -> bool:
    return (
        type(value) is dict
        and type(value.get("target")) is str
        and all(type(value.get(name, "")) is str for name in _TEXTS)
        and all(is_number(value.get(name, 0)) for name in (*_NUMBERS, *_EXIT_NUMBERS, "threads", "batch"))
        and is_values(value.get("figures", {}))
        and ("interval" not in value or _is_prediction(value))
        and ("operators" not in value or _is_learnt_from(value))
        and _is_over_data(value.get("over_data", {}))
    )


def _is_over_data(value: Any) -> bool:
    """Times over data: how many inputs, and by form of the network their mean and percentiles."""
    return type(value) is dict and all(is_number(each) or is_values(each) for each in value.values())


def is_config(value: Any) -> bool:
    """A config whose parts have the form that is shown of them."""
    if type(value) is not dict:
        return False
    bits, pruning, teacher = (value.get(key) or {} for key in ("bits", "pruning", "teacher"))
    if not (type(bits) is type(pruning) is type(teacher) is dict):
        return False
    ratios = pruning.get("ratios") or {}
    widths = [
        part.get(k, 0) for part in bits.values() if type(part) is dict for k in ("weights", "activations")
    ]
    return type(ratios) is dict and all(map(is_finite, ratios.values())) and all(map(is_finite, widths))


def is_finite(value: Any) -> bool:
    """Whether it is a finite number, or left out."""
    return value is None or (is_number(value) and math.isfinite(value))
