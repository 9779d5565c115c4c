from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_run import make_events, write_run
from rich.console import Console

from raysearch.basics.failures import UserError
from raysearch.reporting.progress import LiveTable
from raysearch.watching import pages
from raysearch.watching.following import Followed
from raysearch.watching.pages import watch


def grow(folder: Path, events: list[dict]) -> None:
    with (folder / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    events = make_events(6)
    folder = write_run(tmp_path / "run", events[:40])
    run = Followed(folder)
    assert [e["event"] for e in run.news()] == [e["event"] for e in events[:40]]
    assert run.news() == []
    grow(folder, events[40:])
    assert len(run.news()) == len(events) - 40
    assert run.ended


def test_a_run_that_says_no_study_is_refused_as_by_report(tmp_path: Path) -> None:
    first, *others = make_events(2)
    folder = write_run(tmp_path / "run", [{**first, "study": {**first["study"], "search": {}}}, *others])
    with pytest.raises(UserError, match=r"journal\.jsonl line 1 \(run\) has study\.search\.epochs None"):
        Followed(folder).begin()
    with pytest.raises(UserError, match="holds a journal whose first line"):
        Followed(write_run(tmp_path / "torn", others[:1])).begin()


def test_a_search_that_is_watched_late_ends_when_it_ends(tmp_path: Path) -> None:
    events, text = make_events(4), io.StringIO()
    begun = [e for e in events if e["event"] == "session" and e["action"] in ("start", "resume")]
    begun[-1] |= {"time": time.time() - 120, "num_trials": None, "max_minutes": 3}
    folder = write_run(tmp_path / "run", events[:-1])
    left, elapsed = [], []

    class Table(LiveTable):
        def event(self, event: Mapping[str, Any]) -> None:
            super().event(event)
            left.append(self.seconds_left())
            elapsed.append(self._clock() - self._start)

    def wait(seconds: float) -> None:
        grow(folder, events[-1:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "LiveTable", Table)
        watch(folder, console=Console(file=text, width=200), wait=wait)
    assert left
    assert 50 < left[0] <= 60  # later also by what the trials took
    assert 120 <= elapsed[0] < 130


def test_a_line_that_is_being_written_is_told_when_it_is_whole(tmp_path: Path) -> None:
    events = make_events(2)
    folder = write_run(tmp_path / "run", events[:10])
    run = Followed(folder)
    run.news()
    line = json.dumps(events[10]) + "\n"
    with (folder / "journal.jsonl").open("a") as file:
        file.write(line[:20])
        file.flush()
        assert run.news() == []
        file.write(line[20:])
    assert [e["time"] for e in run.news()] == [events[10]["time"]]


def test_the_table_goes_on_and_the_page_ends_without_loading_itself_again(tmp_path: Path) -> None:
    events = make_events(12)
    middle = len(events) // 2
    folder, text = write_run(tmp_path / "run", events[:middle]), io.StringIO()

    def wait(seconds: float) -> None:
        assert 'http-equiv="refresh"' in (folder / "report.html").read_text(encoding="utf-8")
        grow(folder, events[middle:])

    watch(folder, console=Console(file=text, width=200), wait=wait)
    assert 'http-equiv="refresh"' not in (folder / "report.html").read_text(encoding="utf-8")
    assert "12 of 12 trials" in text.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("session", "screen", "trials"),
    [({"num_trials": 20}, None, 20), ({"num_trials": 20}, 4, 80), ({"max_minutes": 3}, 4, float("inf"))],
)
def test_how_many_trials_are_asked_for(
    tmp_path: Path, session: dict, screen: int | None, trials: float
) -> None:
    events = make_events(4, finish=False)
    events[1] = {"event": "session", "time": events[1]["time"], "action": "start", **session}
    events = [e for e in events if e["event"] != "session" or "num_trials" not in e or e is events[1]]
    if screen:
        study = events[0]["study"]
        events[0] = {**events[0], "study": {**study, "search": {**study["search"], "screen": screen}}}
    run = Followed(write_run(tmp_path / "run", [e for e in events if e.get("action") != "interrupt"]))
    run.news()
    assert run.record.most_trials == trials
