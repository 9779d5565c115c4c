"""``raysearch report --watch``: the live table and the report of a run that another process works on."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from raysearch.reporting.html import write_report
from raysearch.reporting.progress import LiveTable
from raysearch.storage import Place
from raysearch.watching.following import Followed

_EVERY_S = 5.0  # between two looks
_PAGE_S = 30.0  # between two pages: one takes a second of a core's time, and draws all plots anew


def watch(
    folder: Place,
    *,
    console: Console | None = None,
    every: float = _EVERY_S,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Show a run's live table and keep its report.html fresh until its session ends.

    The page loads itself again while the run goes on. A session that was killed never says that it ended:
    Ctrl-C ends the watching.

    Args:
        folder: of the run.
        console: where the table goes; standard output if left out.
        every: seconds between two looks at the journal.
        wait: lets so many seconds pass.

    Raises:
        MissingFile: the folder holds no journal.
        UserError: a line of the journal is damaged, or of a later version, or its first one says no study.
    """
    run = Followed(folder)
    run.begin()
    sessions = run.record.sessions[-1:]
    elapsed = sum(time.time() - session["time"] for session in sessions)
    with LiveTable(run.record, limit=run.record.most_trials, console=console, elapsed=elapsed) as table:
        for session in sessions:
            table.event(session)  # says until when the search goes on
        written = _write(folder, run)
        while not run.ended:
            wait(every)
            events = run.news()
            table.limit = run.record.most_trials
            for event in events:
                table.event(event)
            if events and time.monotonic() - written >= _PAGE_S:
                written = _write(folder, run)
    _write(folder, run)


def _write(folder: Place, run: Followed) -> float:
    write_report(folder, refresh=None if run.ended else _PAGE_S)
    return time.monotonic()
