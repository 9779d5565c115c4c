"""What a trial says: its standard output, its standard error and its log records, in a file of its own."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from typing import TextIO

from raysearch.storage.files import read_once, write_once
from raysearch.storage.place import Place

LIMIT = 1_000_000  # characters of a file; what a loop prints a million times nobody reads


@contextlib.contextmanager
def logged(place: Place) -> Iterator[None]:
    """What Python code writes and logs while it lasts is added to a file, besides where it goes anyway.

    Nothing is written where nothing was said, and a file that cannot be written loses nothing else. What
    native code writes past Python's own streams is not seen.

    Args:
        place: of the file; made with its folder where something is said.
    """
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setLevel(logging.INFO)  # torch tells its tracing to whoever listens
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with (
            contextlib.redirect_stdout(_Doubled(sys.stdout, said)),
            contextlib.redirect_stderr(_Doubled(sys.stderr, said)),
        ):
            yield
    finally:
        root.removeHandler(handler)
        if text := said.getvalue():
            with contextlib.suppress(Exception):  # storage raises whatever it likes
                add(place, text)


def add(place: Place, text: str) -> None:
    """Add a text to the end of a file that grows to ``LIMIT`` and no further."""
    try:
        before = read_once(place).decode("utf-8", "replace")
    except FileNotFoundError:
        before = ""
    if len(before) >= LIMIT:
        return
    left = LIMIT - len(before)
    cut = "\n(what follows was left out)\n" if len(text) > left else ""
    write_once(place, (before + text[:left] + cut).encode())


class _Doubled(io.TextIOBase):
    """A stream whose text also goes to another one."""

    def __init__(self, stream: TextIO, copy: io.StringIO) -> None:
        self._stream, self._copy = stream, copy

    def write(self, text: str) -> int:
        self._copy.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
