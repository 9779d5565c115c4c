"""Storage against an S3 server: what is written is read, and what fails for a while costs nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest
from s3_server import S3Server

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.basics.failures import MissingFile, UserError
from raysearch.record import lease
from raysearch.record.journal import Journal, check_run_folder, read
from raysearch.storage import Place, folder_of

pytest.importorskip("moto", reason="the S3 server of moto: pip install raysearch[dev]")
pytest.importorskip("flask", reason="the S3 server of moto: pip install raysearch[dev]")
pytest.importorskip("s3fs", reason="raysearch[s3]")


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with S3Server() as server:
        server.make("bucket")
        yield server


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("raysearch.storage.waiting.PATIENCE_S", 60.0)
    monkeypatch.setattr(lease, "_SETTLED_S", 0.1)
    yield running
    running.fail(0)


@pytest.fixture
def folder(server: S3Server) -> Place:
    return folder_of(f"s3://bucket/runs/{uuid.uuid4().hex}")


def test_files_and_folders(folder: Place) -> None:
    storage.write(folder / "a" / "b.txt", "grün")
    storage.write(folder / "a" / "c" / "d", b"\0")
    assert storage.read(folder / "a" / "b.txt") == "grün".encode()
    assert storage.names(folder / "a") == ["b.txt", "c"]
    assert storage.names(folder) == ["a"]
    assert storage.exists(folder / "a")
    assert not storage.exists(folder / "b")
    assert storage.names(folder / "b") == []
    with pytest.raises(FileNotFoundError):
        storage.read(folder / "a" / "x")
    with storage.staged(folder / "a", last="spec.json") as here:
        (here / "spec.json").write_text("{}")
    with storage.fetched(folder / "a") as here:
        assert [p.name for p in here.iterdir()] == ["spec.json"]
    with pytest.raises(MissingFile), storage.fetched(folder / "b"):
        pass
    storage.remove(folder)
    storage.remove(folder)
    assert not storage.exists(folder)


def test_what_another_process_has_written_is_seen_at_once(folder: Place) -> None:
    import s3fs

    assert storage.names(folder) == []
    other = s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe_file(f"{str(folder).removeprefix('s3://')}/x", b"1")
    assert storage.names(folder) == ["x"]
    assert storage.read(folder / "x") == b"1"
    other.pipe_file(f"{str(folder).removeprefix('s3://')}/x", b"2")
    assert storage.read(folder / "x") == b"2"


def test_a_twentieth_of_requests_fails_and_nothing_is_lost(folder: Place, server: S3Server) -> None:
    server.fail(0.05)
    journal = Journal(folder)
    for number in range(150):
        with journal.together():
            journal.write("note", note=number)
            journal.write("note", note=-number)
        storage.write(folder / "trials" / f"{number % 7}", b"x" * number)
    journal.close()
    failed = server.counts()["failed"]
    server.fail(0)
    assert [e["note"] for e in read(folder)] == [n for i in range(150) for n in (i, -i)]
    assert {len(storage.read(folder / "trials" / str(n))) % 7 for n in range(7)} == set(range(7))
    assert failed > 5


def test_a_server_that_vanishes_for_a_while_is_waited_for(folder: Place, server: S3Server) -> None:
    said: list[str] = []
    with storage.telling(said.append):
        journal = Journal(folder)
        journal.write("note", note=0)
        server.vanish(4)
        time.sleep(0.5)
        journal.write("note", note=1)
        assert said[0].startswith(f"waiting for {folder}: ")
        assert said[-1] == ""
        assert [e["note"] for e in read(folder)] == [0, 1]
        journal.close()


def test_one_that_stays_away_ends_the_waiting(
    folder: Place, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.storage.waiting.PATIENCE_S", 2.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(StorageError, match=r"cannot be used: .*connect.* \(tried for \d+ s\)$"):
        storage.write(folder / "x", b"")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_no_such_bucket_is_one_sentence_at_once(server: S3Server) -> None:
    folder = folder_of("s3://no-such-bucket/runs/x")
    began = time.monotonic()
    with pytest.raises(
        UserError, match=r"run folder cannot be used: s3://no-such-bucket/.*bucket does not exist"
    ):
        Journal(folder)
    with pytest.raises(MissingFile, match="is not a run folder"):
        check_run_folder(folder)
    assert time.monotonic() - began < 20


def test_no_credentials_are_one_sentence_at_once(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    began = time.monotonic()
    with pytest.raises(UserError, match="Unable to locate credentials"):
        check_run_folder(folder)
    with pytest.raises(UserError, match="Unable to locate credentials"):
        Journal(folder)
    assert time.monotonic() - began < 20
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_second_driver_is_refused(folder: Place) -> None:
    journal = Journal(folder)
    with pytest.raises(UserError, match="is being worked on by"):
        Journal(folder)
    journal.close()


DRIVER = """
import sys, time
from raysearch.record import lease
from raysearch.record.journal import Journal
from raysearch.storage import folder_of

lease.BEAT_S, lease.PERIOD_S = 0.2, 3.0
journal = Journal(folder_of(sys.argv[1]))
for number in range(10_000):
    journal.write("note", note=number)
    print(number, flush=True)
    time.sleep(0.02)
"""


def test_a_driver_that_was_stopped_and_taken_over_ends_in_a_sentence_when_it_goes_on(
    folder: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.2)
    monkeypatch.setattr(lease, "PERIOD_S", 3.0)
    first = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while int(first.stdout.readline()) < 5:
            pass
        with pytest.raises(UserError, match="is being worked on by"):
            Journal(folder)
        first.send_signal(signal.SIGSTOP)
        second = Journal(folder)
        known = [e["note"] for e in read(folder)]
        second.write("note", note="second")
        first.send_signal(signal.SIGCONT)
        said = first.communicate(timeout=60)[1]
    finally:
        first.kill()
    assert first.returncode == 1
    assert "was taken over by" in said.splitlines()[-1]
    second.write("note", note="second still")
    second.close()
    assert [e["note"] for e in read(folder)] == [*known, "second", "second still"]
    assert known == list(range(len(known)))
