"""The parts of the chaos benchmark that need no cluster; the whole stands in tests/test_chaos.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import make_events, write_run

from benchmarks import chaos
from benchmarks.chaos import descendants, faults, left_of, story


def test_processes_below_one_are_found_and_seen_to_go() -> None:
    program = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        found: dict[int, tuple[str, str]] = {}
        while not any(command == "sleep 60" for _, command in found.values()):
            found = descendants(os.getpid())
        assert child.pid in found
        sleeping = {pid: what for pid, what in found.items() if what[1] == "sleep 60"}
    finally:
        child.kill()
        child.wait()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chaos, "_GONE_S", 0.2)
        assert left_of(sleeping) == ["sleep 60"]  # whoever kills a parent leaves its child
    for pid in sleeping:
        os.kill(pid, 9)
    assert left_of(sleeping) == []


def test_a_story_has_no_times_and_nothing_that_is_measured(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_events(2))
    for event in story(run):
        assert event["event"] not in ("run", "session")
        assert not {"time", "measurements", "notes"} & event.keys()
        assert not any(name.startswith("latency") for name in event.get("values", ()))


def test_a_failure_a_missing_end_and_a_line_that_stands_twice_are_faults(tmp_path: Path) -> None:
    events = [e for e in make_events(2) if e.get("outcome") != "failed"]
    names = {e["trial"] for e in events if e["event"] == "end"}
    whole = [e for e in events if e.get("trial") in names or "trial" not in e]
    assert faults(write_run(tmp_path / "whole", whole)) == []
    report = next(e for e in whole if e["event"] == "report")
    end = next(e for e in whole if e["event"] == "end")
    again = faults(write_run(tmp_path / "again", [*whole, report]))
    assert again
    assert f"report of trial '{report['trial']}', which has ended" in again[0]
    suggestion = next(e for e in whole if e["event"] == "suggestion")
    twice = faults(write_run(tmp_path / "twice", [*whole, suggestion]))
    assert twice
    assert suggestion["trial"] in twice[0]
    failed = [{**e, "outcome": "failed", "reason": "no"} if e is end else e for e in whole]
    assert faults(write_run(tmp_path / "failed", failed)) == [f"{end['trial']}: failed no"]
    assert faults(write_run(tmp_path / "cut", [e for e in whole if e is not end]))
