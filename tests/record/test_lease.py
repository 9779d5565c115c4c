from __future__ import annotations

import errno
import json
import time
import uuid
from pathlib import Path

import pytest

from raysearch import storage
from raysearch.basics.failures import UserError
from raysearch.record import lease
from raysearch.record.journal import Journal, read
from raysearch.record.lease import Beating, LeaseLost
from raysearch.storage import Place, Remote

BEAT, PERIOD = 0.05, 0.5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", BEAT)
    monkeypatch.setattr(lease, "PERIOD_S", PERIOD)
    monkeypatch.setattr(lease, "_SETTLED_S", BEAT)


@pytest.fixture
def folder() -> Remote:
    return Remote(f"memory://{uuid.uuid4().hex}/run")


def stopped(beating: Beating) -> Beating:
    """One whose process was killed: it beats no more, and gives nothing back."""
    beating._ended.set()
    beating._thread.join()
    return beating


def test_a_second_driver_is_refused_while_the_first_one_lives(folder: Remote) -> None:
    first = Beating(folder)
    with pytest.raises(
        UserError, match=rf"{folder} is being worked on by .*, process \d+: wait for its end$"
    ):
        Beating(folder)
    first.check()
    first.release()
    assert storage.names(folder) == []
    began = time.monotonic()
    Beating(folder).release()
    assert time.monotonic() - began < PERIOD  # what was given back is not waited for


def test_what_a_killed_driver_left_is_taken_over_when_it_stood_still(folder: Remote) -> None:
    first = stopped(Beating(folder))
    said: list[str] = []
    began = time.monotonic()
    with storage.telling(said.append):
        second = Beating(folder)
    assert time.monotonic() - began >= PERIOD
    assert "still works on" in said[0]
    assert said[-1] == ""
    first._renewed -= PERIOD
    with pytest.raises(LeaseLost, match=r"was taken over by .*: it stops here and writes nothing more$"):
        first.check()
    assert first.lost
    first.release()
    second.check()  # the first one gave nothing back that was not its own
    second.release()


def test_no_clocks_are_compared(folder: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Beating(folder)
    found = json.loads(storage.read(folder / lease.FILE_NAME))
    assert set(found) == {"owner", "by", "beat"}
    time.sleep(4 * BEAT)
    assert json.loads(storage.read(folder / lease.FILE_NAME))["beat"] > found["beat"]
    first.release()


def test_a_driver_that_was_stopped_for_long_makes_sure_before_it_writes(folder: Remote) -> None:
    journal = Journal(folder)
    journal.write("session", action="start")
    stopped(journal._lease)
    other = Journal(folder)
    other.write("session", action="resume")
    journal._lease._renewed -= PERIOD  # as after SIGSTOP, or the lid of a laptop
    with pytest.raises(LeaseLost):
        journal.write("session", action="finish")
    assert journal.lost
    with pytest.raises(LeaseLost), journal.together():
        journal.write("session", action="finish")
    journal.close()
    other.close()
    assert [e["action"] for e in read(folder)] == ["start", "resume"]


def test_a_driver_hears_that_it_lost_its_run_while_it_writes_nothing(folder: Remote) -> None:
    first = Beating(folder)
    storage.write(folder / lease.FILE_NAME, json.dumps({"owner": "another", "by": "ann@host", "beat": 1}))
    deadline = time.monotonic() + 100 * BEAT
    while not first.lost and time.monotonic() < deadline:
        time.sleep(BEAT)
    with pytest.raises(LeaseLost, match="taken over by ann@host"):
        first.check()
    first.release()
    assert json.loads(storage.read(folder / lease.FILE_NAME))["owner"] == "another"


def test_of_two_that_begin_at_once_one_is_refused(folder: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        storage.write(folder / lease.FILE_NAME, json.dumps({"owner": "another", "by": "ann@host", "beat": 1}))

    monkeypatch.setattr(lease.time, "sleep", sleep)
    with pytest.raises(UserError, match="being worked on by ann@host"):
        Beating(folder)


def test_storage_that_is_away_for_a_while_costs_no_lease(
    folder: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, said = Beating(folder), []

    def away(*arguments: object) -> bytes:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    with monkeypatch.context() as gone, storage.telling(said.append):
        gone.setattr(storage, "read_once", away)
        time.sleep(PERIOD)
        gone.undo()
        time.sleep(4 * BEAT)
    assert said[0] == f"waiting for {folder}: Connection refused"
    assert said[-1] == ""
    first.check()
    first.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_network_disk_without_locks_has_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(lease.fcntl, "flock", refuse)
    folder: Place = tmp_path / "run"
    journal = Journal(folder)
    journal.write("session", action="start")
    with pytest.raises(UserError, match=r"being worked on by .*, process"):
        Journal(folder)
    journal.close()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["journal.jsonl"]
    Journal(folder).close()


def test_a_run_whose_folder_was_removed_is_written_no_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("session", action="start")
    (tmp_path / "journal.jsonl").unlink()
    with pytest.raises(LeaseLost, match="was removed while it was worked on"):
        journal.write("session", action="finish")
    assert journal.lost


def test_a_bucket_that_cannot_be_used_is_refused_in_a_sentence(
    folder: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*arguments: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(storage, "write_once", deny)
    with pytest.raises(UserError, match=rf"^the run folder cannot be used: {folder} .*: Access Denied$"):
        Journal(folder)
