"""The run's record: JSON lines that are only ever added to, the one source of truth.

Every suggestion, report (with its measurements and the decision on it) and end is one line, written before
it takes effect. Resume, the live table, the report, warm starts and trials.csv read this and nothing else.
``writing`` says how they are stored, ``lease`` who may add to them.

The events, by their ``event`` field (``time`` is seconds since the epoch and part of every line):

    run          the first line: version, study (the resolved study), metrics {name: unit} of the task
                 (0.1.0 had none: accuracy), references (a digest of what they are made of), weight_bits (that
                 integer weights fit in), warm_start (folders of earlier runs, and how many of the configs
                 that are evaluated first are from there), software {package: version}, machine
    session      action (start, resume; finish, interrupt, timeout, storage, error), num_trials (null: any
                 number), max_minutes; workers, where they are others than the study says; of one that begins
                 code, a digest of that of the task's module, where it is in a file
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
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from raysearch.basics.disk import StorageError
from raysearch.basics.failures import MissingFile, UserError
from raysearch.record.lease import take
from raysearch.record.schema import Event as Event
from raysearch.record.schema import Reader
from raysearch.record.writing import FILE_NAME, OneFile, Segments, Writer, is_run, lines, whole
from raysearch.record.writing import FOLDER as SEGMENTS
from raysearch.storage import Place

VERSION = 1


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
            self._writer.append(data)
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
            self._writer.append(b"".join(group))

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
