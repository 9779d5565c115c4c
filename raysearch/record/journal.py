"""The run's record: JSON lines that are only ever added to, the one source of truth.

Every suggestion, report (with its measurements and the decision on it) and end is one line, written before
it takes effect. Resume, the live table, the report, warm starts and trials.csv read this and nothing else.
``writing`` says how they are stored, ``lease`` who may add to them.

The events, by their ``event`` field (``time`` is seconds since the epoch and part of every line):

    run          the first line: version, study (the resolved study), metrics {name: unit} of the task
                 (0.1.0 had none: accuracy), references (a digest of what they are made of), weight_bits (that
                 integer weights fit in), software {package: version}, machine
    session      action (start, resume; finish, interrupt, timeout, storage, error), num_trials (null: any
                 number), max_minutes; workers, where they are others than the study says
    limits       objectives, constraints, targets, each whole: those that hold from here on, for what came
                 before too
    suggestion   trial, role ("reference" or "trial"), config (canonical), key (of it), origin; proposal (what
                 the searcher gave, inactive parameters included) where that is not the config itself; worked
                 (what the searcher worked out besides), if anything
    report       trial, step, values {metric: number}, measurements [..], notes [..], decision; one that
                 says "pause" lets the trial wait
    promotion    trial: one that waits goes on; finishing: whether only because no more begin; worked
    end          trial, outcome ("finished", "stopped" or "failed"), reason; of a failed one traceback, a file
    final        trial, values, measurements, parts {metric: [number]}, notes: measured again and evaluated
                 on the test split, whole and in parts, alone; or notes of why not, and traceback
    measured     trial, target, values, measurements, notes: its figures on a target that came later, with
                 limits; or notes of why there are none, and traceback

What each field may be stands in ``record.schema``. Events of other kinds are kept as they are for whoever
wrote them, such as a sweep its ``left_out``.
Trials are named by the journal ("0007"); references by what they are ("parent", "parent-longer",
"parent-int8", "larger").
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from raysearch.basics.disk import StorageError
from raysearch.basics.failures import MissingFile, UserError
from raysearch.basics.outcome import Outcome
from raysearch.metrics import DEFAULT, Metric, find, is_static
from raysearch.record.lease import take
from raysearch.record.schema import Event as Event
from raysearch.record.schema import Reader
from raysearch.record.writing import FILE_NAME, OneFile, Segments, Writer, is_run, lines, whole
from raysearch.record.writing import FOLDER as SEGMENTS
from raysearch.storage import Place

VERSION = 1
LIMITS = ("objectives", "constraints", "targets")
"""What of a study may change between two sessions of its run besides the budget."""

_OF_A_TRIAL = ("report", "promotion", "end", "final", "measured")


class Journal:
    """Adds events to a run's journal; each is stored when ``write`` returns, or ``together`` ends.

    Nobody else writes the run from before its first byte is read until it is closed. A last line cut short by
    a kill is dropped when the journal is opened again: it never took effect. A journal that is closed with
    nothing in it leaves nothing behind.

    Args:
        folder: of the run.

    Raises:
        UserError: another process is writing it, or the folder cannot be made or written.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = folder
        self._group: list[bytes] | None = None
        self._file = _opened(folder)
        with contextlib.ExitStack() as undone:
            if self._file is not None:
                undone.callback(self._file.close)
            self._lease = take(folder, self._file)
            undone.callback(self._lease.release)
            try:
                self._writer = self._begun()
            except StorageError as error:
                raise UserError(f"the run folder cannot be used: {error}") from error
            undone.pop_all()

    def _begun(self) -> Writer:
        """What adds lines to what is there; a run that began in a bucket goes on in its form."""
        if isinstance(self.folder, Path) and self._file is not None and not (self.folder / SEGMENTS).is_dir():
            return OneFile(self.folder, self._file, self._lease.check)
        return Segments(self.folder, self._lease.check)

    @property
    def lost(self) -> bool:
        """Whether another driver has taken the run over."""
        return self._lease.lost

    def write(self, event: str, **fields: Any) -> Event:
        """Add one event and return it as written.

        Raises:
            StorageError: there is no room, or no storage any more; nothing of the event is left.
            LeaseLost: another driver has taken the run over.
        """
        line: Event = {"event": event, "time": round(time.time(), 3), **fields}
        data = (json.dumps(line, allow_nan=True) + "\n").encode()
        if self._group is None:
            self._append(data)
        else:
            self._group.append(data)
        return line

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Events that are written while it lasts are stored at its end, all or none; none after an error.

        Raises:
            StorageError: as ``write``.
        """
        group: list[bytes] = []
        self._group = group
        try:
            yield
        finally:
            self._group = None
        if group:
            self._append(b"".join(group))

    def _append(self, data: bytes) -> None:
        self._writer.append(data)

    def close(self) -> None:
        """Give the run back; a later write raises ValueError."""
        self._lease.release()
        self._writer.close()
        if self._file is not None:
            self._file.close()


def _opened(folder: Place) -> IO[bytes] | None:
    """The file of the journal, open for appending; None where there are no such files."""
    if not isinstance(folder, Path):
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / FILE_NAME).open("ab", buffering=0)
    except OSError as error:
        raise UserError(f"the run folder {folder} cannot be written: {error.strerror}") from error


def check_run_folder(folder: Place) -> None:
    """Refuse a folder that holds no journal.

    Raises:
        MissingFile: in one sentence.
        UserError: it cannot be looked into.
    """
    try:
        known = is_run(folder)
    except StorageError as error:
        raise UserError(str(error)) from error
    if not known:
        raise MissingFile(f"{folder} is not a run folder: it has no {FILE_NAME}")


def read(folder: Place, seen: int = 0, reader: Reader | None = None) -> Iterator[Event]:
    """The events of a run folder in order, without a last line that a kill cut short.

    Args:
        folder: of the run.
        seen: how many lines the reader has read before; these are passed over.
        reader: that goes on; a new one if left out.

    Raises:
        MissingFile: the folder holds no journal.
        UserError: the journal was written by a later version of raysearch, or a line is damaged.
    """
    check_run_folder(folder)
    path = folder / FILE_NAME
    parsed = reader or Reader(VERSION)
    for number, line in islice(enumerate(whole(lines(folder)), start=1), seen, None):
        event = parsed(line, f"{path} line {number}")
        if event["event"] == "run" and event["version"] > VERSION:
            raise UserError(
                f"{path} has version {event['version']}, this raysearch reads up to {VERSION}: upgrade it"
            )
        yield event


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
        later: values measured on targets that came later; of the task's metrics also the worst over them all.
        asked: those targets on which it was measured, whatever came of it.
        outdated: whether a target came after its final figures, which lack that one.
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
    later: dict[str, float] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    outdated: bool = False
    ended: float | None = None

    @property
    def step(self) -> int:
        """The last step reported, -1 before the first."""
        return max(self.reports, default=-1)

    @property
    def figures(self) -> dict[int, dict[str, float]]:
        """What is known of it at each step: its reports, and what was measured on targets that came later.

        The latter would have been in its first report, or where training decides on it in its last.
        """
        if not self.later or not self.reports:
            return self.reports
        known = {step: dict(values) for step, values in self.reports.items()}
        for metric, value in self.later.items():
            known[min(known) if is_static(metric) else self.step][metric] = value
        return known

    @property
    def searched_values(self) -> dict[str, float]:
        """The latest value of every metric, without what was measured after the search."""
        merged: dict[str, float] = {}
        for _, values in sorted(self.figures.items()):
            merged.update(values)
        return merged

    @property
    def values(self) -> dict[str, float]:
        """The latest value of every metric known so far; final figures win."""
        return {**self.searched_values, **self.final}


@dataclass(frozen=True)
class Change:
    """Limits that were changed between two sessions.

    Attributes:
        ended: how many of the searched trials had ended by then.
        before, after: the study's objectives, constraints and targets.
    """

    ended: int
    before: Mapping[str, list[Any]]
    after: Mapping[str, list[Any]]

    @property
    def targets(self) -> list[str]:
        """The names of the targets that came."""
        known = _names(self.before["targets"])
        return [name for name in _names(self.after["targets"]) if name not in known]


def _names(targets: Iterable[Any]) -> list[str]:
    return [t if isinstance(t, str) else t.get("name", t.get("runtime")) for t in targets]


@dataclass
class RunRecord:
    """The state of a run, built event by event from its journal.

    Attributes:
        header: the event ``run``, its study with the limits that hold now; empty before it.
        trials: by name, references among them, in the order of suggestion.
        sessions: the events that begin and end each session.
        changes: of the limits, in their order.
        others: events of kinds that are not the journal's own.
        last_time: of the last event, seconds since the epoch.
    """

    header: Event = field(default_factory=dict)
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    sessions: list[Event] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    others: list[Event] = field(default_factory=list)
    last_time: float = 0.0

    @property
    def targets(self) -> list[str]:
        """The names of the study's targets, in its order."""
        return _names(self.header["study"]["targets"])

    @property
    def later_targets(self) -> list[str]:
        """The names of those that came later than the run began."""
        return [name for change in self.changes for name in change.targets]

    @classmethod
    def load(cls, folder: Place) -> RunRecord:
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
        elif kind == "limits":
            self._change(event)
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

    def _change(self, event: Mapping[str, Any]) -> None:
        """Let other limits hold."""
        study = self.header.get("study", {})
        before, after = ({name: list(said.get(name, ())) for name in LIMITS} for said in (study, event))
        change = Change(sum(t.outcome is not None for t in self.searched()), before, after)
        self.changes.append(change)
        if self.header:
            self.header = {**self.header, "study": {**study, **after}}
        if change.targets:
            for trial in self.trials.values():
                trial.outdated = bool(trial.final)

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
            trial.outdated = False
            trial.parts.update(event.get("parts", {}))
            trial.measurements += event.get("measurements", [])
        elif event["event"] == "measured":
            trial.later.update(event["values"])
            trial.asked.add(event["target"])
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
