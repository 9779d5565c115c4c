"""States beside the journal: a shortcut that is taken where it fits, and missed by nobody."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from raysearch.record.states import FILE_NAME, History, States

EVENT = {"event": "report", "trial": "0000", "time": 1.5, "step": 1, "values": {"a": 0.1}, "decision": "stop"}


def history(*steps: int) -> History:
    made = History()
    for step in steps:
        made.add({**EVENT, "step": step})
    return made


def test_a_digest_tells_events_apart() -> None:
    assert history(1, 2).digest == history(1, 2).digest
    assert len({history(*steps).digest for steps in ((1, 2), (2, 1), (1,), (1, 2, 3))}) == 4
    for field, value in {"values": {"a": 0.2}, "decision": "pause", "time": 1.6, "trial": "0001"}.items():
        changed = History()
        changed.add({**EVENT, field: value})
        assert changed.digest != history(1).digest


def test_a_copy_goes_on_for_itself() -> None:
    first = history(1)
    second = first.copy()
    second.add({**EVENT, "step": 2})
    assert (first.digest, second.digest) == (history(1).digest, history(1, 2).digest)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    states = States(tmp_path)
    for count in (1, 2, 3):
        states.write(history(*range(count)), {"n": count})
    found = States(tmp_path).read()
    assert [(s.events, s.digest, s.text) for s in found.values()] == [
        (count, history(*range(count)).digest, b'{"n": %d}' % count) for count in (2, 3)
    ]


def test_the_next_is_due_after_a_share_of_all_events(tmp_path: Path) -> None:
    states = States(tmp_path, least=10)
    assert next(n for n in range(30) if states.due(n)) == 10
    states.write(history(*range(1000)), {})
    assert not states.due(1499)
    assert states.due(1500)
    assert not States(None).due(10**9)


def test_the_newest_that_fits_and_loads_is_loaded(tmp_path: Path) -> None:
    states, events = States(tmp_path), [{**EVENT, "step": step} for step in range(9)]
    for count in (3, 6):
        states.write(history(*range(count)), {"n": count})
    loaded = []
    assert States(tmp_path).newest(events, [], loaded.append).events == 6
    assert loaded == [{"n": 6}]
    assert States(tmp_path).newest(events[:5], [], loaded.append).events == 3

    def refuse(state: dict[str, int]) -> None:
        if state["n"] == 6:
            raise KeyError("of another version")

    fresh = States(tmp_path, least=1)
    assert fresh.newest(events, [], refuse).digest == history(*range(3)).digest
    assert fresh.due(4)
    other = {"objectives": ["minimize x"], "constraints": [], "targets": ["torch-cpu"]}
    assert States(tmp_path).newest(events, [other], loaded.append).events == 0


def test_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    states = States(tmp_path)
    for count in (1, 2):
        states.write(history(*range(count)), {"n": [count] * 20})
    whole, random_ = (tmp_path / FILE_NAME).read_bytes(), random.Random(0)
    kept = States(tmp_path).read()
    for _ in range(200):
        at = random_.randrange(len(whole))
        torn = whole[:at] + bytes([random_.randrange(256)]) + whole[at + 1 :]
        (tmp_path / FILE_NAME).write_bytes(torn)
        for state in States(tmp_path).read().values():
            assert state.text in [other.text for other in kept.values()]
    (tmp_path / FILE_NAME).write_bytes(b"\0" * 4096)
    assert States(tmp_path).read() == {}
    (tmp_path / FILE_NAME).unlink()
    assert States(tmp_path).read() == {}


def test_what_cannot_be_written_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    States(tmp_path / "file").write(history(1), {})
    assert States(tmp_path / "file").read() == {}


@pytest.mark.parametrize("line", [b"", b"{}", b"[]\t{}", b'{"events": 1, "digest": 2, "check": 3}\t{}'])
def test_a_line_that_is_no_state(line: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(line + b"\n")
    assert States(tmp_path).read() == {}
