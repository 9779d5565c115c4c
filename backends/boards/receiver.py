"""The board's end of an SSH connection: takes a job's folder, runs its program, gives the results back.

This file is itself sent down the connection, to whatever ``python3`` is there: the standard library alone,
and nothing that Python 3.7 would not read. The other end (ssh.py) uses the same functions.

A parcel is a line of JSON, with the names and sizes of files, and then their bytes. When the other end goes
away, the program is killed and the folder removed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Sequence
from typing import IO, Any

MARK = b"raysearch-board "
"""Begins the lines that are ours: what a login script prints may come before them."""


def send(stream: IO[bytes], header: dict[str, Any], files: Sequence[str] = ()) -> None:
    """Write a parcel.

    Args:
        stream: where to.
        header: plain JSON.
        files: the paths of the files that go with it; they arrive under their last names.
    """
    sizes = [[os.path.basename(path), os.path.getsize(path)] for path in files]
    stream.write(MARK + json.dumps({**header, "files": sizes}).encode() + b"\n")
    for path in files:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, stream)
    stream.flush()


def receive(stream: IO[bytes], folder: str, allowed: Collection[str] | None = None) -> dict[str, Any]:
    """Read a parcel; its files go into a folder.

    Args:
        stream: where from.
        folder: where the files go.
        allowed: the names that its files may have; any if left out.

    Returns:
        Its header.

    Raises:
        EOFError: the stream ended before the parcel did.
        ValueError: it is no parcel, or holds a file that is not allowed.
    """
    line = stream.readline()
    while line and not line.startswith(MARK):
        line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the stream ended before a parcel came")
    header: dict[str, Any] = json.loads(line[len(MARK) :].decode())
    for name, size in header["files"]:
        if os.path.basename(name) != name or (allowed is not None and name not in allowed):
            raise ValueError(f"file {name!r} is not expected")
        with open(os.path.join(folder, name), "wb") as file:
            _copy(stream, file, size)
    return header


def serve(program: str, results: Sequence[str]) -> None:
    """Do one job: read it from the standard input, write what came of it to the standard output.

    Args:
        program: the name of the file in the folder that Python is to run, with the folder as its argument.
        results: the names of the files that go back, where the program left them.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(1))
    send(sys.stdout.buffer, {"ready": True})
    folder = tempfile.mkdtemp(prefix="raysearch-board-")
    try:
        receive(sys.stdin.buffer, folder)
        code, said = _run([sys.executable, os.path.join(folder, program), folder])
        made = [path for path in (os.path.join(folder, name) for name in results) if os.path.exists(path)]
        send(sys.stdout.buffer, {"exit": code, "said": said}, made)
    except OSError as error:  # its disk is full, for one
        send(sys.stdout.buffer, {"exit": None, "said": str(error)})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str]) -> tuple[int, str]:
    """The exit code of a command, and the last line that it wrote to its standard error."""
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        threading.Thread(target=_kill_when_left, args=(child,), daemon=True).start()
        try:
            code = child.wait()
        finally:
            child.kill()
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4096))
        lines = errors.read().decode("utf-8", "replace").strip().splitlines()
        return code, lines[-1] if lines else ""


def _kill_when_left(child: subprocess.Popen[bytes]) -> None:
    """Kill the child when the standard input ends, which nothing follows while the other end is there."""
    while os.read(0, 4096):  # not through the buffer, whose lock would be held when Python ends
        pass
    child.kill()


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    while size:
        data = source.read(min(size, 1 << 20))
        if not data:
            raise EOFError("the stream ended in the middle of a file")
        target.write(data)
        size -= len(data)
