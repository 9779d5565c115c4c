"""What lines of a journal may be; tests/test_bad_input.py has what each wrong one is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cpu_time import cpu_seconds
from fake_run import make_events

from raysearch.basics.failures import UserError
from raysearch.record.schema import DamagedLine, Reader, check_begun


def lines(events: list[dict]) -> list[bytes]:
    return [json.dumps(event).encode() + b"\n" for event in events]


def read(reader: Reader, given: list[bytes]) -> list[dict]:
    return [reader(line, f"line {i}") for i, line in enumerate(given, start=1)]


def test_a_plausible_run_is_read_as_it_was_written() -> None:
    events = make_events(8)
    assert read(Reader(1), lines(events)) == events


def test_what_a_later_version_adds_is_kept() -> None:
    event = {"event": "end", "time": 1.0, "trial": "0000", "outcome": "failed", "mood": "calm"}
    other = {"event": "weather", "time": 2.0, "sun": True}
    reader = Reader(1)
    read(reader, lines(make_events(1)[:-2]))
    assert reader(lines([other])[0], "x") == other
    reader = Reader(1)
    suggested = {"event": "suggestion", "time": 0.0, "trial": "0000", "role": "trial", "config": {}}
    suggested |= {"key": "k", "origin": "x"}
    assert read(reader, lines([suggested, event]))[1] == event


def test_a_later_version_is_passed_on_unchecked() -> None:
    later = {"event": "run", "version": 2, "what": "else"}
    assert read(Reader(1), lines([later])) == [later]
    with pytest.raises(DamagedLine, match="has no time"):
        read(Reader(2), lines([later]))


def test_a_refused_line_leaves_no_trace() -> None:
    reader, events = Reader(1), make_events(1)
    given = lines(events)
    for i, line in enumerate(given):
        for bad in (line[:-5], b"\0" + line, b"[]"):
            with pytest.raises(DamagedLine):
                reader(bad, "a line")
        assert reader(line, f"line {i}") == events[i]


def test_only_the_first_line_cannot_be_gone_on_without() -> None:
    reader = Reader(1)
    with pytest.raises(DamagedLine) as first:
        reader(b"x", "j line 1")
    assert "--repair" not in str(first.value)
    read(reader, lines(make_events(1)[:3]))
    with pytest.raises(DamagedLine, match="--repair") as later:
        reader(b'{"event": "end", "time": 1, "trial": "parent"}', "j line 4")
    assert (later.value.trial, later.value.why) == (
        "parent",
        "(end of parent) has no outcome: give one of finished, stopped, failed",
    )


def test_a_half_of_a_pair_is_replaced() -> None:
    event = lines(make_events(1))[0].replace(b'"0.1.0"', b'"a\\ud800b \\ud83d\\ude00"')
    assert Reader(1)(event, "line 1")["raysearch"] == "a�b 😀"


def test_a_run_says_what_was_searched(tmp_path: Path) -> None:
    check_begun(make_events(1)[0], True, tmp_path)
    with pytest.raises(UserError, match="holds an empty journal"):
        check_begun({}, False, tmp_path)
    with pytest.raises(UserError, match="whose first line, the event 'run' with the study, is missing"):
        check_begun({}, True, tmp_path)


def test_a_hundred_thousand_lines_take_seconds() -> None:
    run, *_ = make_events(1)
    report = next(e for e in make_events(1) if e["event"] == "report" and e["measurements"])
    events = [run]
    for number in range(200):
        name = f"{number:05d}"
        events.append({"event": "suggestion", "time": 1.0, "trial": name, "role": "trial", "config": {"a": 1},
                       "key": "k", "origin": "x"})  # fmt: skip
        events += [{**report, "trial": name, "step": step} for step in range(10)]
    given = lines(events)
    assert cpu_seconds(lambda: read(Reader(1), given)) < 10 * len(given) / 100_000
