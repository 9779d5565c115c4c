"""How a journal's lines are stored: one file that grows where there is a disk, numbered segments elsewhere.

Where nothing can be appended, the last segment is written anew, whole, with each group of lines, until it
holds ``SEGMENT`` bytes. The name of a segment says how many bytes of the one before it count,
``journal/00000002.26114.jsonl``: what a driver that has lost its run writes late changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Protocol

from raysearch import storage
from raysearch.basics.failures import UserError
from raysearch.storage import Place

FILE_NAME, FOLDER = "journal.jsonl", "journal"
SEGMENT = 256_000
"""Bytes of a segment after which the next begins."""

_SEGMENT = re.compile(r"(\d{8})\.(\d+)\.jsonl")


class Writer(Protocol):
    """Where lines are added."""

    def append(self, lines: bytes) -> None:
        """Add whole lines; they are there when it returns, or none is.

        Raises:
            StorageError: they cannot be stored.
        """

    def close(self) -> None:
        """End; where nothing was written nothing is left."""


def is_run(folder: Place) -> bool:
    """Whether a folder holds a journal."""
    return bool(_segments(folder)) or storage.exists(folder / FILE_NAME)


def lines(folder: Place) -> Iterator[bytes]:
    """The lines of a run's journal, each with its end; the last may lack it where a kill cut it short.

    Nothing where there is no journal.
    """
    segments = _segments(folder)
    if not segments:
        yield from _whole_file(folder)
        return
    # The one file of a run that was begun elsewhere comes before its segments.
    content = b"".join(_whole_file(folder))
    for number, (name, counted) in enumerate(segments, start=1):
        place = folder / FOLDER / name
        if int(name[:8]) != number:
            raise UserError(f"{place} follows segment {number}, which is missing: restore it")
        yield from _cut(content, counted, place)
        content = storage.read(place)
    yield from _split(content)


def whole(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without a last one that a kill cut short; one that others follow is damage, and stays."""
    before: bytes | None = None
    for line in lines:
        if before is not None:
            yield before
        before = line
    if before is not None and before.endswith(b"\n"):
        yield before


def _whole_file(folder: Place) -> Iterator[bytes]:
    path = folder / FILE_NAME
    if isinstance(path, Path):
        if path.exists():
            with path.open("rb") as file:
                yield from file
        return
    with contextlib.suppress(FileNotFoundError):
        yield from _split(storage.read(path))


def _cut(content: bytes, counted: int, after: Place) -> Iterator[bytes]:
    """The lines of a segment that count."""
    if len(content) < counted:
        raise UserError(
            f"{after} follows {counted} bytes, and {len(content)} are there: restore the segment before it"
        )
    return _split(content[:counted])


def _split(content: bytes) -> Iterator[bytes]:
    """Lines end with a line feed and nothing else."""
    parts = content.split(b"\n")
    yield from (part + b"\n" for part in parts[:-1])
    if parts[-1]:
        yield parts[-1]


def _segments(folder: Place) -> list[tuple[str, int]]:
    """The names of the segments in order, and how many bytes of the one before count."""
    found = (_SEGMENT.fullmatch(name) for name in storage.names(folder / FOLDER))
    return [(m[0], int(m[2])) for m in found if m]


class OneFile:
    """The journal as one file of a disk.

    Args:
        folder: of the run.
        file: open for appending.
        check: raises where nothing may be written any more.
    """

    def __init__(self, folder: Path, file: IO[bytes], check: Callable[[], None]) -> None:
        self._folder, self._file, self._check = folder, file, check
        self._drop_partial_line()

    def _drop_partial_line(self) -> None:
        """What a kill cut short never took effect."""
        content = (self._folder / FILE_NAME).read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)

    def append(self, lines: bytes) -> None:
        """See ``Writer``."""
        storage.patiently(self._folder, lambda: self._append(lines))

    def _append(self, lines: bytes) -> None:
        self._check()
        whole = os.fstat(self._file.fileno()).st_size
        try:
            while lines:
                lines = lines[self._file.write(lines) :]  # a disk may take a part before it is full
            os.fsync(self._file.fileno())
        except BaseException:  # an interrupt too may come behind a part
            with contextlib.suppress(OSError):
                self._file.truncate(whole)
            raise

    def close(self) -> None:
        """See ``Writer``."""
        if not self._file.closed and os.fstat(self._file.fileno()).st_size == 0:
            (self._folder / FILE_NAME).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds something else
                self._folder.rmdir()
        self._file.close()


class Segments:
    """The journal as numbered segments; this process begins one of its own.

    Args:
        folder: of the run.
        check: raises where nothing may be written any more.
    """

    def __init__(self, folder: Place, check: Callable[[], None]) -> None:
        self._folder, self._check = folder, check
        known = _segments(folder)
        self._number = 1 + (int(known[-1][0][:8]) if known else 0)
        last = storage.read(folder / FOLDER / known[-1][0]) if known else b"".join(_whole_file(folder))
        self._before = last.rfind(b"\n") + 1  # a line cut short never took effect
        self._content = b""
        self._closed = False

    def append(self, lines: bytes) -> None:
        """See ``Writer``."""
        if self._closed:
            raise ValueError("the journal is closed")
        content = self._content + lines
        place = self._folder / FOLDER / f"{self._number:08d}.{self._before}.jsonl"
        storage.patiently(self._folder, lambda: self._put(place, content), missing_too=True)
        self._content = content
        if len(content) >= SEGMENT:
            self._number, self._before, self._content = self._number + 1, len(content), b""

    def _put(self, place: Place, content: bytes) -> None:
        self._check()
        storage.write_once(place, content)

    def close(self) -> None:
        """See ``Writer``."""
        self._closed = True
