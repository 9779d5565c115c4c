"""Figures that are known already: of this run, and of earlier ones on the same device."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from raysearch.backends.base import Backend, Known, Measurement, from_dict, to_dict


class KnownFigures:
    """Measurements and estimates by their keys, on disk as they are learnt.

    Args:
        log: of this run; what a process that died has left there is taken over.
        shared: a folder that runs share, with a file for each runtime, version, device and machine; None:
            nothing is shared. Figures that were disturbed are not.
    """

    def __init__(self, log: Path, shared: Path | None = None) -> None:
        self._log, self._shared = log, shared
        self._by_key: dict[str, Known] = {}
        self._read: set[Path] = set()
        if log.exists():
            _cut_last(log)
            self._by_key |= {known.key: known for known in _lines(log)}

    def find(self, key: str, backend: Backend) -> Known | None:
        """What is known by a key, from earlier runs too."""
        shared = self._file(backend.package, backend.version(), backend.device())
        if key not in self._by_key and shared is not None and shared not in self._read:
            self._read.add(shared)
            # Its last line of a key wins, but what this run has learnt goes before it.
            self._by_key = {known.key: known for known in _lines(shared)} | self._by_key
        return self._by_key.get(key)

    def learn(self, known: Known, *, share: bool = True) -> None:
        """Take in a figure; the last one of a key wins. What another device found is not shared."""
        known = replace(known, cached=False)
        self._by_key[known.key] = known
        line = json.dumps(to_dict(known)) + "\n"
        _append(self._log, line)
        shared = self._file(known.runtime, known.version, known.device)
        quiet = not isinstance(known, Measurement) or (known.converged and not known.contended)
        if share and shared is not None and quiet:
            with suppress(OSError):  # a full or read-only home costs a measurement, not the run
                shared.parent.mkdir(parents=True, exist_ok=True)
                _append(shared, line)

    def _file(self, runtime: str, version: str, device: str) -> Path | None:
        if self._shared is None:
            return None
        where = json.dumps([runtime, version, device, platform.node()])
        return self._shared / f"{hashlib.sha256(where.encode()).hexdigest()[:16]}.jsonl"


def _append(path: Path, line: str) -> None:
    """One write, so that the lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _cut_last(path: Path) -> None:
    """Cut off a last line whose writer died in it, or it would spoil the next."""
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)


def _lines(path: Path) -> Iterator[Known]:
    """The figures of a file that can be read; others write to a shared one meanwhile."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        with suppress(ValueError, TypeError, RecursionError):  # half a line, or one of another version
            yield from_dict(json.loads(line))
