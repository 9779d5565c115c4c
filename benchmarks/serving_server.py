"""`raysearch serve` as a process of its own, and a look at those of its replicas."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PORT = 8719


@contextlib.contextmanager
def server(folder: Path, slo_ms: float, *options: str, pinned: bool = True) -> Iterator[int]:
    """A server while the context lasts, on its own core if it is pinned; its process."""
    cores = sorted(os.sched_getaffinity(0))
    words = [sys.executable, "-m", "raysearch.cli", "serve", str(folder), "--port", str(PORT)]
    words += ["--slo-ms", f"{slo_ms:g}", *(options or ("--replicas", "1"))]
    if pinned:
        os.sched_setaffinity(0, cores[1:] or cores)  # what is started inherits it
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if pinned:
        os.sched_setaffinity(0, cores[:1])
    try:
        assert process.stdout is not None
        if not any("served at" in line for line in process.stdout):
            raise RuntimeError("the server did not start")
        yield process.pid
    finally:
        os.sched_setaffinity(0, cores)
        process.terminate()
        process.wait(timeout=90)


def command(*arguments: str) -> None:
    """Run raysearch's command line."""
    subprocess.run([sys.executable, "-m", "raysearch.cli", *arguments], check=True, stdout=subprocess.DEVNULL)


def replicas(server: int) -> list[int]:
    """The processes of a server's replicas."""
    parents: dict[int, int] = {}
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (folder / "stat").read_text()
                parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
                if b"ServeReplica" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))

    def ancestors(pid: int) -> Iterator[int]:
        while pid in parents:
            yield (pid := parents[pid])

    return [pid for pid in found if server in ancestors(pid)]


def resident_mb(pid: int) -> float:
    """What a process holds in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
