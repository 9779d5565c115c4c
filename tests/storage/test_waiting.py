from __future__ import annotations

import errno
import itertools
from pathlib import Path

import pytest

from raysearch.basics.disk import StorageError
from raysearch.storage import Remote, hurried, impatiently, is_trouble, may_pass, patiently, telling

PLACE = Remote("memory://bucket/run")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass while one sleeps, five minutes of patience, and no other."""
    now = [0.0]
    monkeypatch.setattr("raysearch.storage.waiting.PATIENCE_S", 300.0)
    monkeypatch.setattr("raysearch.storage.waiting.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "raysearch.storage.waiting.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    return now


def failing(times: int, error: Exception):
    """Work that fails so often before it is done."""
    count = itertools.count()

    def work() -> int:
        if (number := next(count)) < times:
            raise error
        return number

    return work


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EBUSY, "Please reduce your request rate"),  # s3fs, of 503
        OSError(errno.EREMOTEIO, "We encountered an internal error"),  # s3fs, of 500
        TimeoutError(),
        ConnectionResetError("reset"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception, clock: list[float]) -> None:
    said: list[str] = []
    with telling(said.append):
        assert patiently(PLACE, failing(8, error)) == 8
    assert clock[0] > 20
    assert said[0].startswith(f"waiting for {PLACE}: ")
    assert said[-1] == ""


def test_a_single_error_is_nobodys_concern(clock: list[float]) -> None:
    said: list[str] = []
    with telling(said.append):
        assert patiently(PLACE, failing(2, TimeoutError("slow"))) == 2
    assert said == []
    assert clock[0] < 1


def test_after_some_minutes_it_is_given_up(clock: list[float]) -> None:
    with (
        pytest.raises(StorageError, match=r"run cannot be used: slow \(tried for 3\d\d s\)$"),
        telling(print),
    ):
        patiently(PLACE, failing(10_000, TimeoutError("slow")))
    assert 300 <= clock[0] < 320
    with impatiently(), pytest.raises(StorageError, match=r"run cannot be used: slow$"):
        patiently(PLACE, failing(1, TimeoutError("slow")))


def test_whoever_is_asked_to_end_waits_no_longer(clock: list[float]) -> None:
    with hurried(lambda: clock[0] > 100), telling(print):
        with pytest.raises(StorageError, match="run cannot be used: slow"):
            patiently(PLACE, failing(10_000, TimeoutError("slow")))
        assert 100 < clock[0] < 101
        assert patiently(PLACE, failing(3, TimeoutError("slow"))) == 3  # what passes at once still may
    assert clock[0] < 103


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("Access Denied"),
        OSError(errno.EACCES, "Permission denied"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError(errno.EINVAL, "The specified bucket is not valid"),
    ],
)
def test_what_stays_is_said_at_once(error: Exception, clock: list[float]) -> None:
    with pytest.raises(StorageError, match="cannot be"):
        patiently(Path("/run"), failing(1, error))
    assert clock[0] == 0


def test_a_missing_file_and_a_bug_are_left_as_they_are(clock: list[float]) -> None:
    for error in (FileNotFoundError("x"), ZeroDivisionError(), ValueError("bug")):
        with pytest.raises(type(error)):
            patiently(PLACE, failing(1, error))
    with pytest.raises(StorageError, match="bucket does not exist"):
        patiently(PLACE, failing(1, FileNotFoundError("The bucket does not exist")), missing_too=True)
    assert clock[0] == 0


def test_the_errors_of_clients_are_told_apart() -> None:
    exceptions = pytest.importorskip("botocore.exceptions")
    away = exceptions.EndpointConnectionError(endpoint_url="http://localhost")
    assert may_pass(away)
    assert not may_pass(exceptions.NoCredentialsError())
    assert is_trouble(exceptions.NoCredentialsError())
    gcsfs = pytest.importorskip("gcsfs.retry")
    assert may_pass(gcsfs.HttpError({"code": 503, "message": "away"}))
    assert may_pass(gcsfs.HttpError({"code": 429, "message": "slowly"}))
    assert not may_pass(gcsfs.HttpError({"code": 403, "message": "no"}))
