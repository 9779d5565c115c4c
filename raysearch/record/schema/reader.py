"""Reads a journal line by line: damage is a sentence and not a traceback.

A long run has 100,000 lines: each costs a few microseconds besides its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.basics.names import is_plain
from raysearch.record.schema.fields import Event, WrongError, check, check_study, check_together

MEND = "; `raysearch resume DIR --repair` goes on without it"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SAID = {
    "report": "is a report",
    "promotion": "is a promotion",
    "end": "is an end",
    "final": "gives final figures",
    "measured": "gives later figures",
}
OF_A_TRIAL = tuple(_SAID)
"""The events that follow a trial's suggestion."""


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
                check(event)
                self._fit(event)
        except WrongError as error:
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
            raise WrongError("is a second beginning, the event 'run', which is the first line's")
        if kind == "suggestion":
            name = event["trial"]
            if name in self._trials:
                raise WrongError(f"suggests trial {name!r} a second time")
            self._trials[name] = _Trial()
        elif kind == "limits":
            check_together(event["objectives"], event["constraints"], "(limits) has limits")
        elif kind in OF_A_TRIAL:
            self._follow(kind, event)

    def _follow(self, kind: str, event: Event) -> None:
        name = event["trial"]
        known = self._trials.get(name)
        what = f"{_SAID[kind]} of trial {name!r}"
        if known is None:
            raise WrongError(f"{what} before its suggestion")
        if kind == "measured":
            return
        if kind == "final":
            if not known.ended:
                raise WrongError(f"{what}, which has not ended")
            return
        if known.ended:
            raise WrongError(f"{what}, which has ended")
        if kind == "report":
            step = event["step"]
            if step <= known.step:
                raise WrongError(f"{what} at step {step}, which reported step {known.step} before")
            known.step, known.paused = step, event["decision"] == "pause"
        elif kind == "promotion":
            if not known.paused:
                raise WrongError(f"{what}, which does not wait")
            known.paused = False
        else:
            known.ended = True


@dataclass(slots=True)
class _Trial:
    """How far a trial is by the lines read so far."""

    step: int = -1
    paused: bool = False
    ended: bool = False


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
                raise WrongError("(run) has metrics {}: give a unit for each metric, at least one")
            check_study(header["study"])
        except WrongError as error:
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
        raise WrongError(f"is damaged: it holds {count} NUL bytes, as a power loss leaves them")
    try:
        event = json.loads(text)
    except RecursionError:
        raise WrongError("is damaged: it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise WrongError(f"is damaged: it is no text in UTF-8 ({error.reason})") from None
    except json.JSONDecodeError as error:
        raise WrongError(f"is damaged: {error.msg.removesuffix(' at')} at character {error.colno}") from None
    except ValueError:  # a number of thousands of digits
        raise WrongError("is damaged: it holds a number that is too long") from None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise WrongError("is no event: it has no field 'event'")
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
