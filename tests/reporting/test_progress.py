from __future__ import annotations

import io
import math
import time
from collections.abc import Iterable
from typing import Any

import pytest
from fake_run import RMSE, STUDY, FakeRun, make_events
from rich.console import Console

from raysearch.record.run_record import RunRecord
from raysearch.record.scores import Scores
from raysearch.reporting.progress import LiveTable


class Clock:
    """A clock that a test winds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def play(events: Iterable[dict[str, Any]], **keywords: Any) -> tuple[str, LiveTable]:
    """Feed events as a run does; returns what was written and the table."""
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=keywords.pop("terminal", False))
    clock, record = Clock(), RunRecord()
    with LiveTable(record, limit=48, console=console, clock=clock, **keywords) as table:
        for event in events:
            record.apply(event)
            clock.now += 0.5
            table.event(event)
    return text.getvalue(), table


def test_it_counts_what_the_journal_says() -> None:
    _, table = play(make_events(), quiet=True)
    assert table.counts == {"running": 0, "finished": 24, "stopped": 16, "untrained": 5, "failed": 3}
    assert table.ended == 48
    fresh = Scores(table.record)
    assert {t.name for t in table.scores.front} == {t.name for t in fresh.front}
    assert table.scores.hypervolume == pytest.approx(fresh.hypervolume)


def test_a_reference_that_trains_for_long_says_its_epochs() -> None:
    events = make_events(4)
    first = next(i for i, e in enumerate(events) if e["event"] == "report" and e["trial"] == "parent")
    head, last = events[:first], dict(events[first], step=40)
    text, table = play([*head, *(dict(events[first], step=step) for step in range(1, 40)), last])
    assert table.phase == "making the reference parent, epoch 40"
    assert 2 <= text.count("making the reference parent, epoch") <= 4  # 20 s, a line each ten


@pytest.mark.parametrize("terminal", [False, True])
def test_where_a_cluster_has_its_trials_at_work_is_shown(terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=terminal)
    record = RunRecord()
    with LiveTable(record, limit=48, console=console) as table:
        table.where = lambda running: f"{running} at work on 2 nodes"
        for event in make_events():
            record.apply(event)
            table.event(event)
    assert "0 at work on 2 nodes" in text.getvalue()
    assert " at work on" not in play(make_events(), terminal=terminal)[0]


def test_it_says_what_the_run_waits_for() -> None:
    text = io.StringIO()
    plain = LiveTable(RunRecord(), limit=1, console=Console(file=text, width=40))
    for said in (
        "waiting for s3://bucket/runs/digits: it is away",
        "waiting for s3://bucket: it still is",
        "",
    ):
        plain.wait(said)
    assert text.getvalue().splitlines() == ["waiting for s3://bucket/runs/digits: it is away", "going on"]
    _, table = play(make_events(4), terminal=True)
    table.wait("waiting for a disk")
    with table.console.capture() as shown:
        table.console.print(table.render())
    assert "waiting for a disk" in shown.get()


def test_quiet_is_silent() -> None:
    assert play(make_events(), quiet=True)[0] == ""
    assert play(make_events(), quiet=True, terminal=True)[0] == ""


@pytest.mark.parametrize(("quiet", "said"), [(False, ["trying the model"]), (True, [])])
def test_what_is_done_before_the_first_event_is_said_at_once(quiet: bool, said: list[str]) -> None:
    text = io.StringIO()
    with LiveTable(RunRecord(), limit=3, console=Console(file=text), quiet=quiet) as table:
        table.begin("trying the model")
        assert text.getvalue().splitlines() == said


def test_plain_lines_are_rate_limited_and_have_no_escapes() -> None:
    text, _ = play(make_events())
    lines = text.splitlines()
    assert 5 < len(lines) < 40  # about 470 events in 240 s
    assert "\x1b" not in text
    assert "48 of 48 trials" in lines[-1]
    assert "best accuracy" in lines[-1]


def test_the_table_shows_each_objective() -> None:
    _, table = play(make_events(), quiet=True)
    shown = io.StringIO()
    Console(file=shown, width=100).print(table.render())
    text = shown.getvalue()
    for word in (
        "48 of 48",
        "24 done",
        "16 stopped",
        "5 untrained",
        "3 failed",
        "on the front",
        "max accuracy",
        "min size, MB",
    ):
        assert word in text


def test_a_terminal_gets_the_table() -> None:
    text, _ = play(make_events(4), terminal=True)
    assert "raysearch · digits" in text
    assert "hypervolume" in text


def test_time_left_follows_the_pace_and_the_deadline() -> None:
    events = make_events(finish=False)
    half = [i for i, e in enumerate(events) if e["event"] == "end"][25]
    _, table = play(events[: half + 1], quiet=True)
    assert table.ended == 24
    assert 0 < table.seconds_left() < 10_000
    events[1]["max_minutes"] = 0.01
    _, hurried = play(events[: half + 1], quiet=True)
    assert hurried.seconds_left() == 0


def test_it_goes_on_from_a_record_that_was_read() -> None:
    record = RunRecord()
    for event in make_events():
        record.apply(event)
    table = LiveTable(record, limit=60, quiet=True)
    assert table.ended == 48
    assert len(table.scores.front) > 2


def test_an_event_is_cheap() -> None:
    events = make_events(400)
    started = time.perf_counter()
    play(events, quiet=True)
    assert (time.perf_counter() - started) / len(events) < 1e-3


@pytest.fixture
def resumed() -> tuple[LiveTable, Clock, FakeRun]:
    """A table over a run of four trials, resumed while two of them were under way."""
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    for number in range(4):
        run.trial(f"{number:04d}", "trial", 8, 0.9, end="stopped", at=3)
    clock, record = Clock(), RunRecord()
    cut = [i for i, e in enumerate(run.events) if e["event"] == "suggestion" and e["role"] == "trial"][2:]
    later = [e for i, e in enumerate(run.events) if i > cut[0] and i not in cut]
    for event in (e for e in run.events if e not in later):
        record.apply(event)
    run.events = later
    return LiveTable(record, limit=4, quiet=True, clock=clock), clock, run


def test_a_resumed_search_is_searching_from_the_first_report_on(
    resumed: tuple[LiveTable, Clock, FakeRun],
) -> None:
    table, clock, run = resumed
    assert table.ended == 2
    for event in run.events:
        table.record.apply(event)
        clock.now += 10
        table.event(event)
        if event["event"] == "end":
            break
        assert table.phase == "searching"
        assert table.seconds_left() == math.inf
    # Five events in 50 s: the first report began the search, the end came 40 s after it.
    assert table.seconds_left() == pytest.approx(40)


def test_an_end_that_a_resume_wrote_down_late_is_no_pace(resumed: tuple[LiveTable, Clock, FakeRun]) -> None:
    table, _, run = resumed
    late = next(e for e in run.events if e["event"] == "end")
    table.record.apply(late)
    table.event(late)
    assert table.ended == 3
    assert table.seconds_left() == math.inf


def test_the_last_phase_begins_when_the_last_trial_ends() -> None:
    events = make_events(finish=False)
    last = max(i for i, e in enumerate(events) if e["event"] == "end")
    assert play(events[:last], quiet=True)[1].phase == "searching"
    text, table = play(events[: last + 1])
    assert table.phase == "measuring the front again, alone"
    assert text.splitlines()[-2].endswith("measuring the front again, alone")  # at once, and at the exit


def test_a_paused_trial_does_not_count_as_running() -> None:
    events = make_events()
    searched = {e["trial"] for e in events if e["event"] == "suggestion" and e["role"] == "trial"}
    start = next(i for i, e in enumerate(events) if e["event"] == "report" and e["trial"] in searched)
    paused = {**events[start], "decision": "pause"}
    _, table = play([*events[:start], paused], quiet=True)
    running = table.counts["running"]
    assert f"{running - 1} running   1 paused" in rendered(table)
    promoted = {"event": "promotion", "trial": paused["trial"], "time": paused["time"]}
    _, table = play([*events[:start], paused, promoted], quiet=True)
    assert f"{running} running" in rendered(table)
    assert "paused" not in rendered(table)


def rendered(table: LiveTable) -> str:
    text = io.StringIO()
    Console(file=text, width=100).print(table.render())
    return text.getvalue()


def test_a_metric_of_the_tasks_own_is_shown_as_it_is() -> None:
    text, table = play(make_events(quality=RMSE))
    best = min(t.values["rmse"] for t in table.scores.front)
    assert f"best rmse {best:.4g}" in text
    shown, _ = play(make_events(quality=RMSE), terminal=True)
    assert "min rmse" in shown
    assert "%" not in text
