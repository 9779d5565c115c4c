"""The same files on a disk and in a bucket; s3 itself stands in test_s3.py."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

import pytest

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.basics.failures import MissingFile
from raysearch.storage import Place, Remote


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty folder of a run."""
    return tmp_path / "run" if request.param == "disk" else Remote(f"memory://{uuid.uuid4().hex}/run")


def test_what_is_written_is_read(folder: Place) -> None:
    assert not storage.exists(folder / "a" / "b.txt")
    storage.write(folder / "a" / "b.txt", "grün")
    storage.write(folder / "a" / "c", b"\0\1")
    assert storage.read(folder / "a" / "b.txt") == "grün".encode()
    storage.write(folder / "a" / "b.txt", "")
    assert storage.read(folder / "a" / "b.txt") == b""
    assert storage.exists(folder / "a")
    assert storage.names(folder / "a") == ["b.txt", "c"]
    assert storage.names(folder) == ["a"]
    with pytest.raises(FileNotFoundError):
        storage.read(folder / "a" / "d")


def test_a_folder_is_removed_with_all_it_holds(folder: Place) -> None:
    storage.write(folder / "trials" / "0001" / "checkpoint.pt", b"x")
    storage.write(folder / "trials" / "0002" / "checkpoint.pt", b"x")
    storage.remove(folder / "trials" / "0001")
    assert storage.names(folder / "trials") == ["0002"]
    storage.remove(folder / "trials" / "0002" / "checkpoint.pt")
    assert not storage.exists(folder / "trials" / "0002" / "checkpoint.pt")
    storage.remove(folder / "never")
    assert storage.names(folder / "never") == []


def test_a_staged_folder_takes_the_place_of_the_one_before(folder: Place, tmp_path: Path) -> None:
    aside = folder / "trials" / "0007"
    storage.write(folder / "variants" / "0007" / "old", b"old")
    with storage.staged(folder / "variants" / "0007", aside=aside, last="spec.json") as here:
        (here / "inside").mkdir()
        (here / "inside" / "weights").write_bytes(b"w")
        (here / "spec.json").write_text("{}")
    with storage.fetched(folder / "variants" / "0007") as here:
        assert sorted(p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file()) == [
            "inside/weights",
            "spec.json",
        ]
        assert (here / "inside" / "weights").read_bytes() == b"w"
    with storage.fetched(folder / "variants" / "0007" / "spec.json") as file:
        assert file.read_text() == "{}"
    with (
        pytest.raises(MissingFile, match=r"variants/0008 is missing$"),
        storage.fetched(folder / "variants" / "0008"),
    ):
        pass


def test_of_a_staged_folder_that_failed_nothing_is_put(folder: Place) -> None:
    storage.write(folder / "variants" / "0007" / "old", b"old")
    with contextlib.suppress(ZeroDivisionError), storage.staged(folder / "variants" / "0007") as here:
        (here / "new").write_text("")
        _ = 1 // 0
    assert storage.names(folder / "variants" / "0007") == ["old"]


def test_a_write_that_fails_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, aside = tmp_path / "references" / "parent", tmp_path / "trials" / "parent"
    storage.write(path, b"good", aside=aside)

    def refuse(file: int) -> None:
        assert [p.name for p in aside.iterdir()] == [f"parent.{os.getpid()}.part"]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raysearch.storage.files.os.fsync", refuse)
    with pytest.raises(StorageError, match=f"^{path.parent} cannot be written: No space left on device$"):
        storage.write(path, b"better", aside=aside)
    assert path.read_bytes() == b"good"
    assert list(aside.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        storage.write(tmp_path / "file" / "inside" / "x", b"")
