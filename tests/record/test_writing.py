"""The journal as one file and as segments: the same lines, whatever is killed, late or moved."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.basics.failures import MissingFile, UserError
from raysearch.record import lease, writing
from raysearch.record.journal import Journal, read
from raysearch.record.writing import lines
from raysearch.storage import Place, Remote


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_SETTLED_S", 0.0)


def bucket() -> Remote:
    return Remote(f"memory://{uuid.uuid4().hex}/run")


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return tmp_path / "run" if request.param == "disk" else bucket()


def write_together(journal: Journal, *numbers: int) -> None:
    with journal.together():
        for number in numbers:
            journal.write("note", note=number)


def notes(folder: Place) -> list[object]:
    return [event["note"] for event in read(folder)]


def test_events_are_there_when_write_returns_and_across_openings(folder: Place) -> None:
    for opening in range(3):
        journal = Journal(folder)
        for number in range(2):
            journal.write("note", note=[opening, number])
            assert notes(folder)[-1] == [opening, number]
        journal.close()
    assert notes(folder) == [[o, n] for o in range(3) for n in range(2)]


def test_a_journal_in_which_nothing_was_written_leaves_nothing(folder: Place) -> None:
    Journal(folder).close()
    assert not storage.exists(folder)
    with pytest.raises(MissingFile, match="is not a run folder"):
        list(read(folder))


def test_a_group_is_stored_at_its_end_in_one_go(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(folder)
    appended: list[bytes] = []
    append = journal._writer.append
    monkeypatch.setattr(journal._writer, "append", lambda data: (appended.append(data), append(data)))
    journal.write("note", note=0)
    with journal.together():
        journal.write("note", note=1)
        journal.write("note", note=2)
        assert notes(folder) == [0]
    with journal.together():
        pass
    assert notes(folder) == [0, 1, 2]
    assert len(appended) == 2
    with contextlib.suppress(ZeroDivisionError), journal.together():
        journal.write("note", note=3)
        _ = 1 // 0
    journal.write("note", note=4)
    assert notes(folder) == [0, 1, 2, 4]
    journal.close()


def test_a_group_that_cannot_be_stored_leaves_nothing(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(folder)
    journal.write("note", note=0)

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("raysearch.record.writing.os.fsync", refuse)
        full.setattr(storage, "write_once", refuse)
        with pytest.raises(StorageError, match="No space left"):
            write_together(journal, 1, 2)
    assert notes(folder) == [0]
    journal.write("note", note=3)
    assert notes(folder) == [0, 3]
    journal.close()


def test_an_interrupt_behind_a_part_of_a_line_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("note", note=0)
    assert isinstance(journal._writer, writing.OneFile)

    class Interrupted:
        """A file of which an interrupt comes behind the first bytes of a line."""

        def __init__(self, file: IO[bytes]) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, data: bytes) -> int:
            self._file.write(data[:5])
            raise KeyboardInterrupt

    file = journal._writer._file
    journal._writer._file = Interrupted(file)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        journal.write("note", note=1)
    journal._writer._file = file
    journal.write("note", note=2)
    assert notes(tmp_path) == [0, 2]
    journal.close()


def test_a_write_waits_for_what_passes(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.storage.waiting.PATIENCE_S", 60.0)
    monkeypatch.setattr("raysearch.storage.waiting.time.sleep", lambda seconds: None)
    journal = Journal(folder)
    left = [5]

    def failing(work):  # type: ignore[no-untyped-def]
        def call(*arguments: object) -> object:
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return work(*arguments)

        return call

    monkeypatch.setattr("raysearch.record.writing.os.fsync", failing(writing.os.fsync))
    monkeypatch.setattr(storage, "write_once", failing(storage.write_once))
    journal.write("note", note=0)
    assert left[0] < 0
    assert notes(folder) == [0]
    journal.close()


@given(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=30), segment=st.integers(1, 1000))
def test_segments_are_of_bounded_size_and_give_the_same_lines(sizes: list[int], segment: int) -> None:
    folder = bucket()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "SEGMENT", segment)
        journal = Journal(folder)
        for number, size in enumerate(sizes):
            journal.write("note", note=number, text="ü" * size)
        journal.close()
    assert notes(folder) == list(range(len(sizes)))
    kept = [storage.read(folder / "journal" / name) for name in storage.names(folder / "journal")]
    assert all(len(content) < segment + 3000 for content in kept)
    assert b"".join(kept) == b"".join(lines(folder))


def test_what_a_driver_that_has_lost_its_run_writes_late_changes_nothing() -> None:
    folder = bucket()
    first = Journal(folder)
    first.write("note", note=0)
    (name,) = storage.names(folder / "journal")
    whole = storage.read(folder / "journal" / name)
    first.close()
    second = Journal(folder)
    second.write("note", note=1)
    # A put that was under way for minutes, as where the network was away.
    storage.write(folder / "journal" / name, whole + b'{"event": "note", "time": 1, "note": "late"}\n')
    assert notes(folder) == [0, 1]
    second.close()
    third = Journal(folder)
    third.write("note", note=2)
    third.close()
    assert notes(folder) == [0, 1, 2]


def test_a_segment_that_is_missing_is_named() -> None:
    folder = bucket()
    for number in range(3):
        journal = Journal(folder)
        journal.write("note", note=number)
        journal.close()
    second = storage.names(folder / "journal")[1]
    storage.remove(folder / "journal" / second)
    with pytest.raises(
        UserError, match=rf"{folder}/journal/00000003\.\d+\.jsonl follows segment 2, which is missing"
    ):
        list(read(folder))
    storage.write(folder / "journal" / second, b"")
    with pytest.raises(UserError, match=r"00000003\.\d+\.jsonl follows \d+ bytes, and 0 are there"):
        list(read(folder))


def moved(source: Place, target: Place) -> None:
    """Copy a run, as a person does between a disk and a bucket."""
    with storage.fetched(source) as here:
        for file in [f for f in here.rglob("*") if f.is_file()]:
            storage.write(target / file.relative_to(here), file.read_bytes())


def test_a_run_that_was_moved_goes_on_where_it_is(tmp_path: Path) -> None:
    places: list[Place] = [tmp_path / "a", bucket(), tmp_path / "b", bucket()]
    for number, place in enumerate(places):
        if number:
            moved(places[number - 1], place)
        for opening in range(2):
            journal = Journal(place)
            journal.write("note", note=2 * number + opening)
            journal.close()
        assert notes(place) == list(range(2 * number + 2))
    shutil.rmtree(tmp_path / "a")


def test_a_line_cut_short_before_a_run_was_moved_never_took_effect(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.write("note", note=0)
    journal.close()
    with (tmp_path / "run" / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "sess')
    folder = bucket()
    moved(tmp_path / "run", folder)
    assert notes(folder) == [0]
    journal = Journal(folder)
    journal.write("note", note=1)
    journal.close()
    assert notes(folder) == [0, 1]


def test_a_segment_whose_last_line_is_cut_hides_no_later_one() -> None:
    folder = bucket()
    for number in range(3):
        journal = Journal(folder)
        journal.write("note", note=number)
        journal.close()
        last = folder / "journal" / storage.names(folder / "journal")[-1]
        storage.write(last, storage.read(last) + b'{"event": "no')
    assert notes(folder) == [0, 1, 2]


def test_a_line_without_its_end_that_others_follow_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bucket()
    first = b'{"event": "note", "time": 1, "note": 0}\n{"event": "no'
    storage.write(folder / "journal" / "00000001.0.jsonl", first)
    second = b'{"event": "note", "time": 1, "note": 1}\n'
    storage.write(folder / "journal" / f"00000002.{len(first)}.jsonl", second)  # as 0.1.0 counted
    with pytest.raises(UserError, match=r"journal\.jsonl line 2 is damaged"):
        list(read(folder))


def test_writing_after_close_is_refused(folder: Place) -> None:
    journal = Journal(folder)
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.write("note", note=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_full_for_a_while_is_waited_for(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.storage.waiting.PATIENCE_S", 60.0)
    (small_disk / "others").write_bytes(b"x" * 40_000)
    journal, said = Journal(small_disk / "run"), []
    freed = threading.Timer(2.5, (small_disk / "others").unlink)
    freed.start()
    with storage.telling(said.append):
        for number in range(20):
            journal.write("note", note=number, text="x" * 2000)
        assert not freed.is_alive()
        storage.write(small_disk / "run" / "checkpoint.pt", b"x" * 4000)
    journal.close()
    assert said == [f"waiting for {small_disk / 'run'}: No space left on device"] * (len(said) - 1) + [""]
    assert notes(small_disk / "run") == list(range(20))
