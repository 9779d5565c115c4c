"""Going on without what is damaged in a journal: what can still be used stays, and what is lost is said.

Only what cannot be used goes: a damaged line, and the later ones that refer to what it said, such as the
reports of a trial whose suggestion is lost. What stays reads as a run in which these never happened: a trial
that lost its end goes on, one that lost its suggestion was never begun. So nothing after a damaged line is
given up for its sake alone.

All that goes is kept in a folder of its own beside the journal, which is there as it was.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from raysearch import storage
from raysearch.basics.disk import storing
from raysearch.basics.failures import UserError
from raysearch.record import writing
from raysearch.record.journal import VERSION, Journal, check_run_folder
from raysearch.record.schema import DamagedLine, Event, Reader
from raysearch.record.writing import FILE_NAME
from raysearch.storage import Place

_SHOWN = 10  # dropped lines that are told one by one
_OF_TRIALS = ("trials", "variants", "logs")  # folders that hold one entry of each trial


@dataclass
class Repair:
    """What became of a damaged journal.

    Attributes:
        backup: the folder with the journal as it was, and with what else went.
        kept: how many lines stay.
        dropped: (number, why) of the lines that went.
        trials: trials that had lines among them, with how many.
        moved: folders of trials that no line suggests any more, which went to the backup.
    """

    backup: Place
    kept: int
    dropped: list[tuple[int, str]] = field(default_factory=list)
    trials: Counter[str] = field(default_factory=Counter)
    moved: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """What is lost, for a person."""
        lines = f"{len(self.dropped)} of {self.kept + len(self.dropped)} lines"
        told = [f"line {number} {why}" for number, why in self.dropped[:_SHOWN]]
        if len(self.dropped) > _SHOWN:
            told.append(f"and {len(self.dropped) - _SHOWN} lines more")
        lost = [f"trial {name} loses {count} lines" for name, count in sorted(self.trials.items())]
        gone = [f"the files of {name}, which no line suggests, are no longer used" for name in self.moved]
        return [
            f"repaired: {lines} of the journal cannot be used; as it was it stands in {self.backup}",
            *told,
            *lost[:_SHOWN],
            *gone[:_SHOWN],
        ]


def repair(folder: Place) -> Repair | None:
    """Rewrite a run's journal without the lines that cannot be used.

    Returns:
        What went; None where every line can be used, and then nothing is changed.

    Raises:
        MissingFile: the folder holds no journal.
        UserError: another process is writing it, it is of a later version, or its first line is damaged.
        StorageError: the folder cannot be written.
    """
    check_run_folder(folder)
    with closing(Journal(folder)):  # nobody else writes it meanwhile; a line cut short at its end goes
        lines = list(writing.whole(writing.lines(folder)))
        found = Repair(_backup(folder), 0)
        kept = list(_usable(folder, lines, found))
        if not found.dropped:
            return None
        with storing(folder):
            storage.write(found.backup / FILE_NAME, b"".join(lines))
            # The journal comes last: while it is damaged, a repair that was cut short is done again.
            found.moved = _set_aside(folder, found.backup, kept)
            storage.write(folder / FILE_NAME, b"".join(line.removesuffix(b"\n") + b"\n" for line, _ in kept))
            storage.remove(folder / writing.FOLDER)  # the segments' lines stand in the one file now
        return found


def _usable(folder: Place, lines: Sequence[bytes], found: Repair) -> Iterator[tuple[bytes, Event]]:
    """The lines that can be used, with their events; what cannot is noted."""
    read = Reader(VERSION)
    for number, line in enumerate(lines, start=1):
        where = f"{folder / FILE_NAME} line {number}"
        try:
            event = read(line, where)
        except DamagedLine as error:
            if number == 1:
                raise UserError(
                    f"{error}: it says what was searched, so that nothing can be used without it; put it back"
                ) from None
            found.dropped.append((number, error.why))
            if error.trial:
                found.trials[error.trial] += 1
            continue
        if event["event"] == "run" and event["version"] > VERSION:
            raise UserError(
                f"{where} has version {event['version']}, this raysearch reads up to {VERSION}: upgrade it"
            )
        found.kept += 1
        yield line, event


def _set_aside(folder: Place, backup: Place, kept: Sequence[tuple[bytes, Event]]) -> list[str]:
    """Move the folders of trials that no line suggests: another trial may get the name of one."""
    known = {event["trial"] for _, event in kept if event["event"] == "suggestion"}
    moved: dict[str, None] = {}
    for kind in _OF_TRIALS:
        for name in storage.names(folder / kind):
            trial = name.removesuffix(".log")
            if trial not in known:
                _move(folder / kind / name, backup / kind / name)
                moved[trial] = None
    return list(moved)


# -- the files ------------------------------------------------------------------------------------------


def _move(source: Place, target: Place) -> None:
    with storage.fetched(source) as here:
        if here.is_dir():
            with storage.staged(target) as there:
                shutil.copytree(here, there, dirs_exist_ok=True)
        else:
            storage.write(target, here.read_bytes())
    storage.remove(source)


def _backup(folder: Place) -> Place:
    """A folder that does not exist yet."""
    number = 1
    while storage.exists(folder / f"damaged-{number}"):
        number += 1
    return folder / f"damaged-{number}"
