"""What a line of a journal may be: checked as it is read, so that damage is a sentence and not a traceback.

Tables of plain functions, for a long run has 100,000 lines: each costs a few microseconds besides its JSON.
What the events are stands in ``raysearch.record.journal``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from raysearch.basics.failures import UserError
from raysearch.basics.names import FORM, is_plain
from raysearch.objectives import Constraint, Goals, Objective

Event = dict[str, Any]

MEND = "; `raysearch resume DIR --repair` goes on without it"
ACTIONS = ("start", "resume", "finish", "interrupt", "timeout", "storage", "error")
OUTCOMES = ("finished", "stopped", "failed")
DECISIONS = ("continue", "stop", "pause")
ROLES = ("reference", "trial")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LARGEST = 2**63  # a larger whole number no array holds
_LAST_TIME = 253_402_300_800.0  # the year 10,000
_TRACEBACK = re.compile(r"failures/[^/\\\0]+\.txt")


class DamagedLine(UserError):
    """A line of a journal that cannot be used.

    Attributes:
        why: what is wrong with it, without its place.
        trial: whose it is; empty where that cannot be told.
    """

    def __init__(self, where: str, why: str, mend: str, trial: str) -> None:
        super().__init__(f"{where} {why}{mend}")
        self.why, self.trial = why, trial


class Reader:
    """Reads a journal line by line; a line that is refused leaves no trace in it.

    Args:
        version: the latest version of journals that is known. The first line of a later one is passed on
            unchecked.
    """

    def __init__(self, version: int) -> None:
        self._version = version
        self._lines = 0
        self._trials: dict[str, _Trial] = {}

    def __call__(self, line: bytes, where: str) -> Event:
        """The event of a line.

        Args:
            line: its bytes, with or without its end; a byte-order mark and CRLF are passed over.
            where: "DIR/journal.jsonl line 7".

        Raises:
            DamagedLine: it is no event, or one that does not go with those before it.
        """
        event: Event = {}
        try:
            event = _plain(line)
            if not self._is_later(event):
                _check(event)
                self._fit(event)
        except _WrongError as error:
            # Without the first line, which says what the study is, nothing else is of use.
            mend, trial = MEND if self._lines else "", event.get("trial")
            raise DamagedLine(where, str(error), mend, str(trial) if is_plain(trial) else "") from None
        self._lines += 1
        return event

    def _is_later(self, event: Event) -> bool:
        version = event.get("version")
        return event["event"] == "run" and type(version) is int and version > self._version

    def _fit(self, event: Event) -> None:
        """Take in an event that goes with those before it."""
        kind = event["event"]
        if kind == "run" and self._lines:
            raise _WrongError("is a second beginning, the event 'run', which is the first line's")
        if kind == "suggestion":
            name = event["trial"]
            if name in self._trials:
                raise _WrongError(f"suggests trial {name!r} a second time")
            self._trials[name] = _Trial()
        elif kind == "limits":
            _check_together(event["objectives"], event["constraints"], "(limits) has limits")
        elif kind in _OF_A_TRIAL:
            self._follow(kind, event)

    def _follow(self, kind: str, event: Event) -> None:
        name = event["trial"]
        known = self._trials.get(name)
        what = f"{_SAID[kind]} of trial {name!r}"
        if known is None:
            raise _WrongError(f"{what} before its suggestion")
        if kind == "measured":
            return
        if kind == "final":
            if not known.ended:
                raise _WrongError(f"{what}, which has not ended")
            return
        if known.ended:
            raise _WrongError(f"{what}, which has ended")
        if kind == "report":
            step = event["step"]
            if step <= known.step:
                raise _WrongError(f"{what} at step {step}, which reported step {known.step} before")
            known.step, known.paused = step, event["decision"] == "pause"
        elif kind == "promotion":
            if not known.paused:
                raise _WrongError(f"{what}, which does not wait")
            known.paused = False
        else:
            known.ended = True


@dataclass(slots=True)
class _Trial:
    """How far a trial is by the lines read so far."""

    step: int = -1
    paused: bool = False
    ended: bool = False


class _WrongError(Exception):
    """What is wrong with a line, to follow its place."""


def check_begun(header: Mapping[str, Any], anything: bool, folder: object) -> None:
    """Refuse a journal that does not say what was searched.

    Args:
        header: its event ``run``; empty where it has none.
        anything: whether it has other events.
        folder: of the run.

    Raises:
        UserError: it is empty, its first line is missing, or the study there cannot be read.
    """
    if header:
        try:
            if header.get("metrics") == {}:
                raise _WrongError("(run) has metrics {}: give a unit for each metric, at least one")
            _check_study(header["study"])
        except _WrongError as error:
            raise UserError(f"{folder}/journal.jsonl line 1 {error}") from None
    elif anything:
        raise UserError(
            f"{folder} holds a journal whose first line, the event 'run' with the study, is missing: put it "
            f"back, or run the study again in another folder"
        )
    else:
        raise UserError(f"{folder} holds an empty journal: nothing was started there, so run the study again")


def _plain(line: bytes) -> Event:
    """The JSON object of a line."""
    text = line.removeprefix(_BYTE_ORDER_MARK).strip(b"\r\n")
    if b"\0" in text:
        count = text.count(b"\0")
        raise _WrongError(f"is damaged: it holds {count} NUL bytes, as a power loss leaves them")
    try:
        event = json.loads(text)
    except RecursionError:
        raise _WrongError("is damaged: it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise _WrongError(f"is damaged: it is no text in UTF-8 ({error.reason})") from None
    except json.JSONDecodeError as error:
        raise _WrongError(f"is damaged: {error.msg.removesuffix(' at')} at character {error.colno}") from None
    except ValueError:  # a number of thousands of digits
        raise _WrongError("is damaged: it holds a number that is too long") from None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise _WrongError("is no event: it has no field 'event'")
    if b"\\ud" in text or b"\\uD" in text:
        event = _without_halves(event)
    found: Event = event
    return found


def _without_halves(value: Any) -> Any:
    """A value whose texts hold no half of a surrogate pair, which no file could take."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_halves(key): _without_halves(item) for key, item in value.items()}
    return [_without_halves(item) for item in value] if isinstance(value, list) else value


# -- what each event has --------------------------------------------------------------------------------


class _Field(NamedTuple):
    """One field of an event: whether a value of it is right, and what is, in words."""

    name: str
    right: Callable[[Any], bool]
    words: str
    required: bool = True


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_mapping(value: Any) -> bool:
    return type(value) is dict


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**9


def _is_number(value: Any) -> bool:
    """A number, finite or not: a loss may be NaN."""
    return type(value) is float or (type(value) is int and -_LARGEST < value < _LARGEST)


def _is_time(value: Any) -> bool:
    return _is_number(value) and 0 <= value < _LAST_TIME


def _is_values(value: Any) -> bool:
    return type(value) is dict and all(map(_is_number, value.values()))


def _is_texts(value: Any) -> bool:
    return type(value) is list and all(type(item) is str for item in value)


def _is_texts_by_name(value: Any) -> bool:
    return type(value) is dict and all(type(item) is str for item in value.values())


def _is_parts(value: Any) -> bool:
    lists = type(value) is dict and all(type(part) is list for part in value.values())
    return lists and all(all(map(_is_number, part)) for part in value.values())


def _is_measurements(value: Any) -> bool:
    return type(value) is list and all(map(_is_measurement, value))


def _is_prediction(value: Mapping[str, Any]) -> bool:
    """A latency in a measurement's place: what is read of it is there."""
    interval = value["interval"]
    return (
        type(interval) is list
        and len(interval) == 2
        and all(map(_is_number, interval))
        and _is_number(value.get("latency_ms"))
        and _is_count(value.get("models"))
        and all(type(value.get(name)) is str for name in ("runtime", "version"))
    )


def _is_learnt_from(value: Mapping[str, Any]) -> bool:
    """A measurement with its model's operators, by which latencies are predicted."""
    known = type(value["operators"]) is dict and type(value.get("structure")) is str
    return known and _is_number(value.get("latency_ms"))


_TEXTS = ("target", "key", "structure", "reference", "runtime", "version", "device", "source")
_NUMBERS = ("latency_ms", "ratio", "reference_ms", "noise", "contention", "slowdown", "samples", "seconds")
_EXIT_NUMBERS = ("early_ms", "early_noise")


def _is_measurement(value: Any) -> bool:
    return (
        type(value) is dict
        and type(value.get("target")) is str
        and all(type(value.get(name, "")) is str for name in _TEXTS)
        and all(_is_number(value.get(name, 0)) for name in (*_NUMBERS, *_EXIT_NUMBERS, "threads", "batch"))
        and _is_values(value.get("figures", {}))
        and ("interval" not in value or _is_prediction(value))
        and ("operators" not in value or _is_learnt_from(value))
        and _is_over_data(value.get("over_data", {}))
    )


def _is_over_data(value: Any) -> bool:
    """Times over data: how many inputs, and by form of the network their mean and percentiles."""
    return type(value) is dict and all(_is_number(each) or _is_values(each) for each in value.values())


def _is_config(value: Any) -> bool:
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
    return type(ratios) is dict and all(map(_is_finite, ratios.values())) and all(map(_is_finite, widths))


def _is_finite(value: Any) -> bool:
    return value is None or (_is_number(value) and math.isfinite(value))


def _one_of(choices: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    known = frozenset(choices)
    return lambda value: type(value) is str and value in known, f"give one of {', '.join(choices)}"


def _or_none(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or right(value)


def _are_read_by(parse: Callable[[str], Any]) -> Callable[[Any], bool]:
    """Whether a value is a list of texts, each of a form."""

    def are(value: Any) -> bool:
        try:
            return _is_texts(value) and all(parse(text) is not None for text in value)
        except UserError:
            return False

    return are


def _are_targets(value: Any) -> bool:
    return type(value) is list and bool(value) and all(map(_is_target, value))


_MAPPING = "give a mapping"
_TRIAL = _Field("trial", is_plain, f"give a trial's name of {FORM}")
_NOTES = _Field("notes", _is_texts, "give a list of texts", False)
_VALUES = _Field("values", _is_values, "give a number for each metric")
_MEASURED = _Field(
    "measurements", _is_measurements, "give a list of measurements, each with its target", False
)
_KEPT = _Field(
    "traceback",
    lambda value: value == "" or (type(value) is str and _is_kept(value)),
    "give a file of the run's, failures/NAME.txt",
    False,
)
_WORKED = _Field("worked", _is_mapping, _MAPPING, False)

_FIELDS: dict[str, tuple[_Field, ...]] = {
    "run": (
        _Field("version", lambda v: type(v) is int and v > 0, "give a whole number from 1 on"),
        _Field("study", _is_mapping, "give the study, a mapping"),
        _Field("metrics", _is_texts_by_name, "give a unit for each metric", False),
        _Field("references", _is_text, "give a text", False),
        _Field("weight_bits", lambda v: type(v) is int and 1 <= v <= 32, "give 1 to 32", False),
        _Field("software", _is_texts_by_name, "give a version for each package", False),
        _Field("machine", _is_mapping, _MAPPING, False),
    ),
    "session": (
        _Field("action", *_one_of(ACTIONS)),
        _Field("num_trials", _or_none(_is_count), "give a whole number, or null", False),
        _Field("max_minutes", _or_none(lambda v: _is_time(v) and v > 0), "give minutes, or null", False),
        _Field(
            "workers",
            _or_none(lambda v: _is_count(v) and v > 0),
            "give a whole number from 1 on, or null",
            False,
        ),
    ),
    "suggestion": (
        _TRIAL,
        _Field("role", *_one_of(ROLES)),
        _Field("config", _is_config, "give a config, a mapping of its parts"),
        _Field("key", _is_text, "give a text"),
        _Field("origin", _is_text, "give a text"),
        _Field("proposal", _is_mapping, _MAPPING, False),
        _WORKED,
    ),
    "report": (
        _TRIAL,
        _Field("step", _is_count, "give a whole number from 0 on"),
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
        _Field("reason", _is_text, "give a text", False),
        _KEPT,
    ),
    "final": (
        _TRIAL,
        _VALUES,
        _MEASURED,
        _NOTES,
        _Field("parts", _is_parts, "give a list of numbers for each metric", False),
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
        _Field("accuracy", _is_number, "give a number", False),
        _Field("without", _is_values, "give a number for each part", False),
        _Field("reason", _is_text, "give a text", False),
        _KEPT,
    ),
}
_OTHER = (_TRIAL._replace(required=False), _KEPT)
_TIME = _Field("time", _is_time, "give seconds since 1970")
_OF_A_TRIAL = ("report", "promotion", "end", "final", "measured")
_SAID = {
    "report": "is a report",
    "promotion": "is a promotion",
    "end": "is an end",
    "final": "gives final figures",
    "measured": "gives later figures",
}


def _is_kept(file: str) -> bool:
    return _TRACEBACK.fullmatch(file) is not None and is_plain(file.removeprefix("failures/"))


def _check(event: Event) -> None:
    """Refuse a field that is missing or wrong; what a later version added is passed over."""
    for field in (_TIME, *_FIELDS.get(event["event"], _OTHER)):
        value = event.get(field.name, _ABSENT)
        if value is _ABSENT:
            if field.required:
                raise _WrongError(f"{_of(event)} has no {field.name}: {field.words}")
        elif not field.right(value):
            raise _WrongError(f"{_of(event)} has {field.name} {_short(value)}: {field.words}")


_ABSENT = object()


def _of(event: Event) -> str:
    kind = _short(event["event"]).strip("'")
    return f"({kind}{' of ' + event['trial'] if is_plain(event.get('trial')) else ''})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_study(study: Mapping[str, Any]) -> None:
    """Refuse a study that results could not be read by; the rest of it ``study_file`` checks."""

    def refuse(key: str, value: Any, words: str) -> None:
        raise _WrongError(f"(run) has study.{key} {_short(value)}: {words}")

    for key in ("task", "search"):
        if type(study.get(key)) is not dict:
            refuse(key, study.get(key), _MAPPING)
    if type(study.get("space", {})) is not dict:
        refuse("space", study["space"], _MAPPING)
    screen = study["search"].get("screen")
    if not (screen is None or (_is_count(screen) and screen)):
        refuse("search.screen", screen, "give a whole number from 1 on")
    epochs = study["search"].get("epochs")
    if not (_is_count(epochs) and epochs):
        refuse("search.epochs", epochs, "give a whole number from 1 on")
    for key, parse in (("objectives", Objective.parse), ("constraints", Constraint.parse)):
        if not _is_texts(study.get(key)):
            refuse(key, study.get(key), "give a list of texts")
        for text in study[key]:
            try:
                parse(text)
            except UserError as error:
                raise _WrongError(f"(run) has study.{key} in which {error}") from None
    if not _are_targets(study.get("targets")):
        refuse("targets", study.get("targets"), f"give a list of targets, their names of {FORM}")
    _check_together(study["objectives"], study["constraints"], "(run) has a study")


def _check_together(objectives: list[str], constraints: list[str], where: str) -> None:
    """Refuse goals that contradict each other."""
    try:
        Goals.parse(objectives, constraints)
    except UserError as error:
        raise _WrongError(f"{where} in which {error}") from None


def _is_target(target: Any) -> bool:
    return is_plain(target.get("name", target.get("runtime")) if type(target) is dict else target)
