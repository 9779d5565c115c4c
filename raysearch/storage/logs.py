"""What a trial says: its standard output, its standard error and its log records, in a file of its own."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from raysearch.storage.files import read_once, write_once
from raysearch.storage.place import Place

LIMIT = 1_000_000  # characters of a file; what a loop prints a million times nobody reads


@contextlib.contextmanager
def logged(place: Place) -> Iterator[None]:
    """What Python code writes and logs while it lasts is added to a file, besides where it goes anyway.

    Nothing is written where nothing was said, and a file that cannot be written loses nothing else. What
    native code and other processes write past Python's own streams is not seen.

    Args:
        place: of the file; made with its folder where something is said.
    """
    said = _Said()
    handler = logging.StreamHandler(said)
    handler.setLevel(logging.INFO)  # torch tells its tracing to whoever listens
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    out: Any = _Doubled(sys.stdout, said)
    errors: Any = _Doubled(sys.stderr, said)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            yield
    finally:
        root.removeHandler(handler)
        if text := said.end():
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


class _Said:
    """What is written until its end, as far as a file takes it; whoever keeps it after that keeps nothing."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._left = LIMIT + 1  # one more says that something was left out

    def write(self, text: str) -> int:
        if self._left > 0:
            self._texts.append(text[: self._left])
            self._left -= len(text)
        return len(text)

    def flush(self) -> None:
        """Nothing: it is written out at its end."""

    def end(self) -> str:
        """All of it."""
        self._left, texts, self._texts = 0, self._texts, []
        return "".join(texts)


class _Doubled:
    """A stream whose text also goes to another one; in all else it is the stream itself."""

    def __init__(self, stream: TextIO, copy: _Said) -> None:
        self._stream, self._copy = stream, copy

    def write(self, text: str) -> int:
        self._copy.write(text)
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
