"""What each event of a journal has, and the study that it begins with.

What the events are stands in ``raysearch.record.journal``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from raysearch.basics.failures import UserError
from raysearch.basics.names import FORM, is_plain, name_of_target
from raysearch.objectives import Constraint, Goals, Objective
from raysearch.record.schema.values import (
    is_config,
    is_count,
    is_mapping,
    is_measurements,
    is_number,
    is_parts,
    is_text,
    is_texts,
    is_texts_by_name,
    is_time,
    is_values,
)

Event = dict[str, Any]

ACTIONS = ("start", "resume", "finish", "interrupt", "timeout", "storage", "error")
OUTCOMES = ("finished", "stopped", "failed")
DECISIONS = ("continue", "stop", "pause")
ROLES = ("reference", "trial")

_TRACEBACK = re.compile(r"failures/[^/\\\0]+\.txt")


class WrongError(Exception):
    """What is wrong with a line, to follow its place."""


class _Field(NamedTuple):
    """One field of an event: whether a value of it is right, and what is, in words."""

    name: str
    right: Callable[[Any], bool]
    words: str
    required: bool = True


def _one_of(choices: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    known = frozenset(choices)
    return lambda value: type(value) is str and value in known, f"give one of {', '.join(choices)}"


def _or_none(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or right(value)


def _are_read_by(parse: Callable[[str], Any]) -> Callable[[Any], bool]:
    """Whether a value is a list of texts, each of a form."""

    def are(value: Any) -> bool:
        try:
            return is_texts(value) and all(parse(text) is not None for text in value)
        except UserError:
            return False

    return are


def _are_targets(value: Any) -> bool:
    return type(value) is list and bool(value) and all(map(_is_target, value))


_MAPPING = "give a mapping"
_TRIAL = _Field("trial", is_plain, f"give a trial's name of {FORM}")
_NOTES = _Field("notes", is_texts, "give a list of texts", False)
_VALUES = _Field("values", is_values, "give a number for each metric")
_MEASURED = _Field(
    "measurements", is_measurements, "give a list of measurements, each with its target", False
)
_KEPT = _Field(
    "traceback",
    lambda value: value == "" or (type(value) is str and _is_kept(value)),
    "give a file of the run's, failures/NAME.txt",
    False,
)
_WORKED = _Field("worked", is_mapping, _MAPPING, False)

_FIELDS: dict[str, tuple[_Field, ...]] = {
    "run": (
        _Field("version", lambda v: type(v) is int and v > 0, "give a whole number from 1 on"),
        _Field("study", is_mapping, "give the study, a mapping"),
        _Field("metrics", is_texts_by_name, "give a unit for each metric", False),
        _Field("references", is_text, "give a text", False),
        _Field("warm_start", is_mapping, _MAPPING, False),
        _Field("weight_bits", lambda v: type(v) is int and 1 <= v <= 32, "give 1 to 32", False),
        _Field("software", is_texts_by_name, "give a version for each package", False),
        _Field("machine", is_mapping, _MAPPING, False),
    ),
    "session": (
        _Field("action", *_one_of(ACTIONS)),
        _Field("num_trials", _or_none(is_count), "give a whole number, or null", False),
        _Field("max_minutes", _or_none(lambda v: is_time(v) and v > 0), "give minutes, or null", False),
        _Field(
            "workers",
            _or_none(lambda v: is_count(v) and v > 0),
            "give a whole number from 1 on, or null",
            False,
        ),
        _Field("code", is_text, "give a text", False),
    ),
    "suggestion": (
        _TRIAL,
        _Field("role", *_one_of(ROLES)),
        _Field("config", is_config, "give a config, a mapping of its parts"),
        _Field("key", is_text, "give a text"),
        _Field("origin", is_text, "give a text"),
        _Field("proposal", is_mapping, _MAPPING, False),
        _WORKED,
    ),
    "report": (
        _TRIAL,
        _Field("step", is_count, "give a whole number from 0 on"),
        _VALUES,
        _Field("decision", *_one_of(DECISIONS)),
        _MEASURED,
        _NOTES,
    ),
    "promotion": (
        _TRIAL,
        _Field("finishing", lambda v: type(v) is bool, "give true or false", False),
        _WORKED,
    ),
    "end": (
        _TRIAL,
        _Field("outcome", *_one_of(OUTCOMES)),
        _Field("reason", is_text, "give a text", False),
        _KEPT,
    ),
    "final": (
        _TRIAL,
        _VALUES,
        _MEASURED,
        _NOTES,
        _Field("parts", is_parts, "give a list of numbers for each metric", False),
        _KEPT,
    ),
    "limits": (
        _Field(
            "objectives",
            lambda value: bool(value) and _are_read_by(Objective.parse)(value),
            'give a list of "maximize METRIC" and "minimize METRIC"',
        ),
        _Field("constraints", _are_read_by(Constraint.parse), 'give a list of texts such as "macs <= 1e6"'),
        _Field("targets", _are_targets, f"give a list of targets, their names of {FORM}"),
    ),
    "measured": (
        _TRIAL,
        _Field("target", is_plain, f"give a name of {FORM}"),
        _VALUES,
        _MEASURED,
        _NOTES,
        _KEPT,
    ),
    "left_out": (
        _Field("accuracy", is_number, "give a number", False),
        _Field("without", is_values, "give a number for each part", False),
        _Field("reason", is_text, "give a text", False),
        _KEPT,
    ),
}
_OTHER = (_TRIAL._replace(required=False), _KEPT)
_TIME = _Field("time", is_time, "give seconds since 1970")


def _is_kept(file: str) -> bool:
    return _TRACEBACK.fullmatch(file) is not None and is_plain(file.removeprefix("failures/"))


def check(event: Event) -> None:
    """Refuse a field that is missing or wrong; what a later version added is passed over."""
    for field in (_TIME, *_FIELDS.get(event["event"], _OTHER)):
        value = event.get(field.name, _ABSENT)
        if value is _ABSENT:
            if field.required:
                raise WrongError(f"{_of(event)} has no {field.name}: {field.words}")
        elif not field.right(value):
            raise WrongError(f"{_of(event)} has {field.name} {_short(value)}: {field.words}")


_ABSENT = object()


def _of(event: Event) -> str:
    kind = _short(event["event"]).strip("'")
    return f"({kind}{' of ' + event['trial'] if is_plain(event.get('trial')) else ''})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_study(study: Mapping[str, Any]) -> None:
    """Refuse a study that results could not be read by; the rest of it ``study_file`` checks."""

    def refuse(key: str, value: Any, words: str) -> None:
        raise WrongError(f"(run) has study.{key} {_short(value)}: {words}")

    for key in ("task", "search"):
        if type(study.get(key)) is not dict:
            refuse(key, study.get(key), _MAPPING)
    if type(study.get("space", {})) is not dict:
        refuse("space", study["space"], _MAPPING)
    screen = study["search"].get("screen")
    if not (screen is None or (is_count(screen) and screen)):
        refuse("search.screen", screen, "give a whole number from 1 on")
    epochs = study["search"].get("epochs")
    if not (is_count(epochs) and epochs):
        refuse("search.epochs", epochs, "give a whole number from 1 on")
    for key, parse in (("objectives", Objective.parse), ("constraints", Constraint.parse)):
        if not is_texts(study.get(key)):
            refuse(key, study.get(key), "give a list of texts")
        for text in study[key]:
            try:
                parse(text)
            except UserError as error:
                raise WrongError(f"(run) has study.{key} in which {error}") from None
    if not _are_targets(study.get("targets")):
        refuse("targets", study.get("targets"), f"give a list of targets, their names of {FORM}")
    check_together(study["objectives"], study["constraints"], "(run) has a study")


def check_together(objectives: list[str], constraints: list[str], where: str) -> None:
    """Refuse goals that contradict each other."""
    try:
        Goals.parse(objectives, constraints)
    except UserError as error:
        raise WrongError(f"{where} in which {error}") from None


def _is_target(target: Any) -> bool:
    return is_plain(name_of_target(target))
