"""States beside the journal: where the algorithms of a run stood after so many events.

A replay loads the newest state that fits the journal, and takes in only what came after it. The journal is
the run, and a state a shortcut: without states, or with damaged ones, a replay ends where it would have.

``states.jsonl`` has one state a line: in JSON the number of events before it, a digest of them, which tells
whether it fits, and one of the state; then a tab, and the state in JSON. The last two are kept. The next is
written when a third of all events are newer, so that all together cost in proportion to the journal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from raysearch.storage import Place, read_once, write_once

FILE_NAME = "states.jsonl"
_KEPT = 2
_LEAST = 500  # events between two states: fewer are replayed in no time
_SHARE = 2  # and half of the events before the last


@dataclass(frozen=True)
class State:
    """Where the algorithms stood.

    Attributes:
        events: how many events came before.
        digest: of them.
        text: the algorithms' state in JSON.
    """

    events: int
    digest: str
    text: bytes


class History:
    """How many events came, and a digest of what in them the algorithms depend on.

    Args:
        limits: the events by which the run's limits changed: a state under others fits none under these.
    """

    def __init__(self, limits: Iterable[Mapping[str, Any]] = ()) -> None:
        self.events = 0
        self._hash = hashlib.sha256()
        for event in limits:
            said = [event["objectives"], event["constraints"], event["targets"]]
            self._hash.update(f"{json.dumps(said)}\n".encode())

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in the next event; what was written and what is read again are the same."""
        known = event.get
        said = f"{known('step')} {known('values')} {known('decision')}{known('outcome')}{known('key')}"
        self._hash.update(f"{event['event']} {event['trial']} {event['time']} {said}\n".encode())
        self.events += 1

    @property
    def digest(self) -> str:
        """Of all events so far."""
        return self._hash.hexdigest()

    def copy(self) -> History:
        """One that stands where this one stands, and goes on for itself."""
        made = History()
        made.events, made._hash = self.events, self._hash.copy()
        return made


class States:
    """The states of a run's search, in a file of its folder.

    What cannot be written is left: the next replay takes longer, and that is all.

    Args:
        folder: of the run; None: nothing is kept.
        least: how many events lie between two states at least.
    """

    def __init__(self, folder: Place | None, least: int = _LEAST) -> None:
        self._folder, self._least = folder, least
        self._lines: list[bytes] = []
        self._events = 0

    def read(self) -> dict[int, State]:
        """The states in the file, by their number of events; what is damaged is passed over."""
        return {state.events: state for line in _lines(self._folder) if (state := _state(line))}

    def newest(
        self,
        events: Sequence[Mapping[str, Any]],
        limits: Sequence[Mapping[str, Any]],
        load: Callable[[Any], object],
    ) -> History:
        """Load the newest state that fits a run's events.

        Args:
            events: that a replay takes in.
            limits: the events by which the run's limits changed.
            load: takes a state over; what it raises for one of another version, or a damaged one, it undoes.

        Returns:
            The history up to that state; an empty one where none fits.
        """
        known, history = self.read(), History(limits)
        fitting: list[tuple[State, History]] = []
        for event in events if known else ():
            history.add(event)
            state = known.get(history.events)
            if state is not None and state.digest == history.digest:
                fitting.append((state, history.copy()))
        for state, before in reversed(fitting):
            with suppress(KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
                load(json.loads(state.text))
                self._events = state.events
                return before
        return History(limits)

    def due(self, events: int) -> bool:
        """Whether enough events came for another."""
        return self._folder is not None and events >= self._events + max(self._least, self._events // _SHARE)

    def write(self, history: History, state: Mapping[str, Any]) -> None:
        """Keep a state, and the last before it."""
        self._events = history.events
        text = json.dumps(state).encode()
        head = {"events": history.events, "digest": history.digest, "check": _check(text)}
        line = b"%s\t%s\n" % (json.dumps(head).encode(), text)
        self._lines = [*self._lines, line][-_KEPT:]
        if self._folder is not None:
            _write(self._folder, b"".join(self._lines))


def _state(line: bytes) -> State | None:
    """The state of a line; None where it is none, or not what was written."""
    head, _, text = line.partition(b"\t")
    try:
        found = json.loads(head)
        events, digest, check = found["events"], found["digest"], found["check"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    right = type(events) is int and type(digest) is str and check == _check(text)
    return State(events, digest, text) if right else None


def _check(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


# -- the file -------------------------------------------------------------------------------------------


def _lines(folder: Place | None) -> list[bytes]:
    if folder is None:
        return []
    with suppress(Exception):  # whatever storage raises: there are none then
        return read_once(folder / FILE_NAME).split(b"\n")[:-1]
    return []


def _write(folder: Place, content: bytes) -> None:
    with suppress(Exception):
        write_once(folder / FILE_NAME, content)
