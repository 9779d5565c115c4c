"""The run's record: an append-only file of JSON lines, the one source of truth.

Every suggestion, report (with its measurements and the decision on it) and end is one line, written before
it takes effect. Resume, the live table, the report, warm starts and trials.csv read this and nothing else.

The events, by their ``event`` field (``time`` is seconds since the epoch and part of every line):

    run          the first line: version, study (the resolved study), metrics {name: unit} of the task
                 (0.1.0 had none: accuracy), references (a digest of what they are made of), weight_bits (that
                 integer weights fit in), software {package: version}, machine
    session      action (start, resume; finish, interrupt, timeout, storage, error), num_trials (null: any
                 number), max_minutes; workers, where they are others than the study says
    suggestion   trial, role ("reference" or "trial"), config (canonical), key (of it), origin; proposal (what
                 the searcher gave, inactive parameters included) where that is not the config itself
    report       trial, step, values {metric: number}, measurements [..], notes [..], decision; one that
                 says "pause" lets the trial wait
    promotion    trial: one that waits goes on; finishing: whether only because no more begin
    end          trial, outcome ("finished", "stopped" or "failed"), reason; of a failed one traceback, a file
    final        trial, values, measurements, parts {metric: [number]}, notes: measured again and evaluated
                 on the test split, whole and in parts, alone; or notes of why not, and traceback

Events of other kinds are kept as they are for whoever wrote them, such as a sweep its ``left_out``.
Trials are named by the journal ("0007"); references by what they are ("parent", "parent-longer",
"parent-int8", "larger").
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.basics.disk import StorageError, storing
from raysearch.basics.failures import MissingFile, UserError
from raysearch.basics.outcome import Outcome
from raysearch.metrics import DEFAULT, Metric, find

VERSION = 1
FILE_NAME = "journal.jsonl"
_OF_A_TRIAL = ("report", "promotion", "end", "final")

Event = dict[str, Any]


class Journal:
    """Appends events to ``folder/journal.jsonl``; each line is on disk when ``write`` returns.

    A last line cut short by a kill is dropped when the journal is opened again: it never took effect. A
    journal that is closed with nothing in it leaves nothing behind.

    Raises:
        UserError: another process is writing it, or the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise UserError(f"the run folder {folder} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back when the process ends
        except OSError:
            self._file.close()
            raise UserError(f"{folder} is being worked on by another process: wait for its end") from None
        _drop_partial_line(self.path)

    def write(self, event: str, **fields: Any) -> Event:
        """Append one event and return it as written.

        Raises:
            StorageError: the disk is full; nothing of the event is left in the file.
        """
        line: Event = {"event": event, "time": round(time.time(), 3), **fields}
        whole = os.fstat(self._file.fileno()).st_size
        try:
            with storing(self.path.parent):
                self._append((json.dumps(line, allow_nan=True) + "\n").encode())
        except StorageError:
            with contextlib.suppress(OSError):
                self._file.truncate(whole)
            raise
        return line

    def _append(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]  # a disk may take a part of a line before it is full
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; a later write raises ValueError."""
        if not self._file.closed and os.fstat(self._file.fileno()).st_size == 0:
            self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds something else
                self.path.parent.rmdir()
        self._file.close()


def check_run_folder(folder: Path) -> None:
    """Refuse a folder that holds no journal.

    Raises:
        MissingFile: in one sentence.
    """
    if not (folder / FILE_NAME).exists():
        raise MissingFile(f"{folder} is not a run folder: it has no {FILE_NAME}")


def read(folder: Path) -> Iterator[Event]:
    """The events of a run folder in order, without a last line that a kill cut short.

    Raises:
        MissingFile: the folder holds no journal.
        UserError: the journal was written by a later version of raysearch, or a line is damaged.
    """
    check_run_folder(folder)
    path = folder / FILE_NAME
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            event = _parsed(line, f"{path} line {number}")
            if event["event"] == "run" and event["version"] > VERSION:
                raise UserError(
                    f"{path} has version {event['version']}, this raysearch reads up to {VERSION}: upgrade it"
                )
            yield event


def _parsed(line: str, where: str) -> Event:
    try:
        event = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is damaged: {error}; restore the file or delete that line") from error
    if not isinstance(event, dict) or "event" not in event:
        raise UserError(f"{where} is no event: it has no field 'event'")
    return event


def _drop_partial_line(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("rb+") as file:
            file.truncate(whole)


@dataclass
class TrialRecord:
    """What the journal says of one trial.

    Attributes:
        name: the trial's name in the journal.
        role: "reference" or "trial".
        config: the canonical config.
        proposal: what the searcher gave, inactive parameters included; 0.1.0 kept the canonical config alone.
        key: identifies the canonical form.
        origin: who proposed it ("design", "nsga2", ...).
        reports: the values at each step, in the order of arrival.
        measurements: every measurement its reports carried.
        paused: it waits to be promoted.
        notes: remarks of the trial ("bits 2 run no faster than 8 in onnxruntime-cpu").
        outcome: None while it runs or waits.
        reason: why it stopped or failed.
        traceback: the file in the run's folder that keeps the traceback of its failure; empty without one.
        final: values measured after the search (latency again, the test split); empty if it was not.
        parts: the task's metrics on parts of the test split, by metric: what ``record.ties`` reads.
        started, ended: seconds since the epoch.
    """

    name: str
    role: str
    config: dict[str, Any]
    key: str
    origin: str
    started: float
    proposal: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, dict[str, float]] = field(default_factory=dict)
    measurements: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    paused: bool = False
    outcome: Outcome | None = None
    reason: str = ""
    traceback: str = ""
    final: dict[str, float] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)
    ended: float | None = None

    @property
    def step(self) -> int:
        """The last step reported, -1 before the first."""
        return max(self.reports, default=-1)

    @property
    def values(self) -> dict[str, float]:
        """The latest value of every metric reported so far; final figures win."""
        merged: dict[str, float] = {}
        for step in sorted(self.reports):
            merged.update(self.reports[step])
        return {**merged, **self.final}


@dataclass
class RunRecord:
    """The state of a run, built event by event from its journal.

    Attributes:
        header: the event ``run``; empty before it.
        trials: by name, references among them, in the order of suggestion.
        sessions: the events that begin and end each session.
        others: events of kinds that are not the journal's own.
        last_time: of the last event, seconds since the epoch.
    """

    header: Event = field(default_factory=dict)
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    sessions: list[Event] = field(default_factory=list)
    others: list[Event] = field(default_factory=list)
    last_time: float = 0.0

    @property
    def targets(self) -> list[str]:
        """The names of the study's targets, in its order."""
        given = self.header["study"]["targets"]
        return [t if isinstance(t, str) else t.get("name", t.get("runtime")) for t in given]

    @classmethod
    def load(cls, folder: Path) -> RunRecord:
        """Read a whole journal."""
        record = cls()
        for event in read(folder):
            record.apply(event)
        return record

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take one event in. A report that repeats a step already known changes nothing.

        Raises:
            ValueError: the event is of a trial that was never suggested.
        """
        self.last_time = event["time"]
        kind = event["event"]
        if kind == "run":
            self.header = dict(event)
        elif kind == "session":
            self.sessions.append(dict(event))
        elif kind == "suggestion":
            self.trials[event["trial"]] = TrialRecord(
                name=event["trial"],
                role=event["role"],
                config=event["config"],
                proposal=event.get("proposal", event["config"]),
                key=event["key"],
                origin=event["origin"],
                started=event["time"],
            )
        elif kind not in _OF_A_TRIAL:
            self.others.append(dict(event))
        elif event["trial"] not in self.trials:
            raise ValueError(f"the journal has a {kind} of trial {event['trial']!r} before its suggestion")
        else:
            self._update(self.trials[event["trial"]], event)

    def _update(self, trial: TrialRecord, event: Mapping[str, Any]) -> None:
        if event["event"] == "report":
            if event["step"] not in trial.reports:
                trial.reports[event["step"]] = dict(event["values"])
                trial.measurements += event.get("measurements", [])
                trial.paused = event.get("decision") == "pause"
        elif event["event"] == "promotion":
            trial.paused = False
        elif event["event"] == "end":
            trial.paused = False
            trial.outcome, trial.reason, trial.ended = (
                event["outcome"],
                event.get("reason", ""),
                event["time"],
            )
        elif event["event"] == "final":
            trial.final.update(event["values"])
            trial.parts.update(event.get("parts", {}))
            trial.measurements += event.get("measurements", [])
        trial.traceback = event.get("traceback", trial.traceback)
        trial.notes += [n for n in event.get("notes", []) if n not in trial.notes]

    @property
    def metrics(self) -> dict[str, str]:
        """The task's metrics, the first one first, with their units."""
        return dict(self.header.get("metrics", DEFAULT))

    def metric(self, key: str) -> Metric:
        """What is known of the metric behind a key of this run."""
        return find(key, self.metrics)

    @property
    def parent(self) -> TrialRecord | None:
        """The parent's record, None before it was suggested."""
        return self.trials.get("parent")

    def searched(self) -> list[TrialRecord]:
        """The trials that were searched (references left out), in the order of suggestion."""
        return [t for t in self.trials.values() if t.role == "trial"]
