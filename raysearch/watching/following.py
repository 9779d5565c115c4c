"""What has come to a run's journal since it was last looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysearch.record import journal
from raysearch.record.journal import VERSION, Event
from raysearch.record.run_record import RunRecord
from raysearch.record.schema import Reader, check_begun
from raysearch.storage import Place


@dataclass
class Followed:
    """A run that is followed; nothing of it is locked or written.

    Attributes:
        folder: of the run.
        record: what was read so far.
        seen: how many events that is.
    """

    folder: Place
    record: RunRecord = field(default_factory=RunRecord)
    seen: int = 0
    _reader: Reader = field(default_factory=lambda: Reader(VERSION))

    def begin(self) -> None:
        """Take in what is there.

        Raises:
            MissingFile: the folder holds no journal.
            UserError: it does not say what is searched, or a line of it is damaged, or of a later version.
        """
        self.news()
        check_begun(self.record.header, self.seen > 0, self.folder)

    def news(self) -> list[Event]:
        """The events that were not seen before, taken into the record.

        Raises:
            MissingFile: the folder holds no journal.
            UserError: a line of it is damaged, or of a later version.
        """
        events = []
        for event in journal.read(self.folder, self.seen, self._reader):
            self.record.apply(event)
            self.seen += 1
            events.append(event)
        return events

    @property
    def ended(self) -> bool:
        """Whether the last session has said how it ended; one that was killed says nothing."""
        sessions = self.record.sessions
        return bool(sessions) and sessions[-1]["action"] not in ("start", "resume")
