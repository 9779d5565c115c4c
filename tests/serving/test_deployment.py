"""A front on Ray Serve, end to end: HTTP, limits, another front, a killed replica, bad input."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import expected, front_folder

from raysearch.basics.failures import UserError

pytest.importorskip("starlette", reason="Ray Serve is not installed: raysearch[serve]")
pytest.importorskip("uvicorn", reason="Ray Serve is not installed: raysearch[serve]")

X = [1.0, 2.0, 3.0, 4.0]
GOOD = json.dumps({"inputs": X}).encode()
BAD = [b"{", GOOD[:-5], b"no JSON", b'{"inputs": [1]}', b'{"inputs": [NaN, 1, 2, 3]}', b"0" * 50_000]
PATIENCE_S = 400.0


def request(port: int, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        known = {"content-type": "application/json", "authorization": "Bearer secret", **headers}
        line.request("GET" if body is None else "POST", path, body, known)
        answer = line.getresponse()
        content = answer.read()
        is_json = answer.headers.get("content-type", "") == "application/json"
        return answer.status, json.loads(content) if is_json else content.decode()
    finally:
        line.close()


def serve(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "raysearch.cli", "serve", *map(str, arguments)]


@contextlib.contextmanager
def serving(folder: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Two replicas of a front, by the command line."""
    options = ("--port", str(port), "--slo-ms", "20000", "--token", "secret", "--replicas", "2")
    environment = {**os.environ, "RAY_ADDRESS": ""}
    with log.open("wb") as file:
        server = subprocess.Popen(serve(folder, *options), stdout=file, stderr=file, env=environment)
    try:
        ending = time.monotonic() + PATIENCE_S
        while "served at" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < ending, log.read_text()
            time.sleep(0.2)
        yield server
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


def replicas(server: int) -> list[int]:
    """The processes of the replicas of a server."""
    stats = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal():
                stat, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
                stats[int(folder.name)] = (int(stat.rpartition(")")[2].split()[1]), command)

    def is_below(pid: int) -> bool:
        while pid in stats and pid != server:
            pid = stats[pid][0]
        return pid == server

    return [pid for pid, (_, command) in stats.items() if b"ServeReplica" in command and is_below(pid)]


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


class Asking(threading.Thread):
    """Asks one thing after another until it is told to end."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.ending = port, threading.Event()
        self.statuses: Counter[int] = Counter()
        self.variants: set[str] = set()
        self.wrong = 0

    def run(self) -> None:
        while not self.ending.is_set():
            try:
                status, answer = request(self.port, "/predict", GOOD)
            except (OSError, http.client.HTTPException):
                status, answer = 0, {}
            self.statuses[status] += 1
            if status == 200:
                name = answer["variant"]
                self.variants.add(name)
                self.wrong += answer["outputs"] != pytest.approx(
                    expected(X, int(name[1:])).tolist(), rel=1e-4
                )


@contextlib.contextmanager
def asked(port: int, threads: int = 2) -> Iterator[list[Asking]]:
    asking = [Asking(port) for _ in range(threads)]
    for one in asking:
        one.start()
    yield asking
    for one in asking:
        one.ending.set()
    for one in asking:
        one.join()


def settled(port: int, count: int) -> None:
    """Wait until so many replicas count together."""
    ending = time.monotonic() + PATIENCE_S
    while f"raysearch_replicas {count}" not in request(port, "/metrics")[1]:
        assert time.monotonic() < ending
        time.sleep(0.2)


@pytest.mark.timeout(1500)
def test_a_front_is_served_changed_followed_and_survives(tmp_path: Path) -> None:
    before, after = front_folder(tmp_path / "a"), front_folder(tmp_path / "b", (7, 8))
    other = front_folder(tmp_path / "c", (1,), size=5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(before, port, tmp_path / "log") as server:
        status, answer = request(port, "/predict", GOOD)
        assert (status, answer["variant"]) == (200, "v3")
        assert answer["outputs"] == pytest.approx(expected(X, 3).tolist(), rel=1e-4)
        assert request(port, "/predict", GOOD, authorization="Bearer other")[0] == 401
        settled(port, 2)

        assert request(port, "/limits", b'{"slo_ms": 0.001}')[0] == 200
        assert [request(port, "/predict", GOOD)[0] for _ in range(6)] == [503] * 6  # whichever replica
        assert request(port, "/limits", b'{"slo_ms": 20000}')[1]["slo_ms"] == 20_000

        with asked(port) as asking:
            subprocess.run(serve(after, "--update", "--port", str(port)), check=True, capture_output=True)
        assert sum((one.statuses for one in asking), Counter()).keys() == {200}
        assert [one.wrong for one in asking] == [0, 0]
        assert {request(port, "/predict", GOOD)[1]["variant"] for _ in range(6)} == {"v8"}
        refused = subprocess.run(
            serve(other, "--update", "--port", str(port)), capture_output=True, text=True
        )
        assert (refused.returncode, "the old front goes on" in refused.stderr) == (2, True)

        held = [resident_mb(pid) for pid in replicas(server.pid)]
        assert {request(port, "/predict", BAD[n % len(BAD)])[0] for n in range(300)} <= {400, 413}
        assert max(resident_mb(pid) for pid in replicas(server.pid)) < max(held) + 40
        assert request(port, "/predict", GOOD)[0] == 200

        with asked(port) as asking:
            time.sleep(0.5)
            os.kill(replicas(server.pid)[0], signal.SIGKILL)
            time.sleep(2)
        statuses = sum((one.statuses for one in asking), Counter())
        assert statuses[200] > 10
        assert sum(number for status, number in statuses.items() if status != 200) <= len(asking)
        assert [one.wrong for one in asking] == [0, 0]
        settled(port, 2)  # another one has taken its place
    assert server.returncode == 0
    with pytest.raises(OSError):
        request(port, "/healthz")


def test_arguments_of_the_builder_are_checked(tmp_path: Path) -> None:
    from raysearch.serving.deployment import application

    run = str(front_folder(tmp_path))
    application({"run": run, "token": "", "slo_ms": 10})
    for wrong, sentence in (
        ({"token": ""}, 'give "run"'),
        ({"run": run}, '"token"'),
        ({"run": run, "token": "", "slo": 10}, "did you mean 'slo_ms'"),
        ({"run": run, "token": "", "slo_ms": -1}, "slo_ms is -1"),
        ({"run": run, "token": "", "min_replicas": 3, "max_replicas": 2}, "min_replicas is 3"),
        ({"run": str(tmp_path / "none"), "token": ""}, "no front to serve"),
    ):
        with pytest.raises(UserError, match=sentence):
            application(wrong)
