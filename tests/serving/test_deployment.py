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
from types import SimpleNamespace
from typing import Any

import pytest
from served import expected, front_folder, onnx_file

from raysearch.basics.failures import RunError, UserError

pytest.importorskip("starlette", reason="Ray Serve is not installed: raysearch[serve]")
pytest.importorskip("uvicorn", reason="Ray Serve is not installed: raysearch[serve]")

X = [1.0, 2.0, 3.0, 4.0]
GOOD = json.dumps({"inputs": X}).encode()
BAD = [b"{", GOOD[:-5], b"no JSON", b'{"inputs": [1]}', b'{"inputs": [NaN, 1, 2, 3]}', b"0" * 50_000]
PATIENCE_S = 400.0

import ray  # noqa: E402
from ray.serve.exceptions import RayServeException  # noqa: E402

from raysearch.serving import deployment  # noqa: E402
from raysearch.serving.replica import board_of  # noqa: E402


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
        while ": served at http" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < ending, log.read_text()
            time.sleep(0.2)
        yield server
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


def replicas(server: int) -> list[int]:
    """The processes of the replicas of a server."""
    return [pid for pid, command in below(server) if b"ServeReplica" in command]


def haproxy_files(server: int) -> list[str]:
    """What the HAProxy of a server was configured with, if there is one."""
    commands = [command.split(b"\0") for _, command in below(server) if b"haproxy.cfg" in command]
    return [Path(words[words.index(b"-f") + 1].decode()).read_text() for words in commands]


def below(server: int) -> list[tuple[int, bytes]]:
    """The processes that descend from one, with their commands."""
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

    return [(pid, command) for pid, (_, command) in stats.items() if is_below(pid)]


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
        self.cut: list[float] = []  # when those were sent that got no answer

    def run(self) -> None:
        while not self.ending.is_set():
            sent = time.monotonic()
            try:
                status, answer = request(self.port, "/predict", GOOD)
            except (OSError, http.client.HTTPException) as error:
                status, answer = 0, {}
                if not isinstance(error, ConnectionRefusedError):
                    self.cut.append(sent)
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
        onnx_file(after / "v8" / "model.onnx", 9)  # the same path, and another network
        subprocess.run(serve(after, "--update", "--port", str(port)), check=True, capture_output=True)
        answers = [request(port, "/predict", GOOD)[1]["outputs"] for _ in range(6)]
        assert answers == [pytest.approx(expected(X, 9).tolist(), rel=1e-4)] * 6
        onnx_file(after / "v8" / "model.onnx", 8)
        subprocess.run(serve(after, "--update", "--port", str(port)), check=True, capture_output=True)
        refused = subprocess.run(
            serve(other, "--update", "--port", str(port)), capture_output=True, text=True
        )
        assert (refused.returncode, "the old front goes on" in refused.stderr) == (2, True)

        taken = subprocess.run(serve(after, "--port", str(port)), capture_output=True, text=True)
        assert (taken.returncode, "cannot be listened on" in taken.stderr) == (2, True)
        for configuration in haproxy_files(server.pid):
            assert "listen stats" not in configuration
            assert f"bind 127.0.0.1:{port}" in configuration

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
        with asked(port, threads=4) as asking:
            time.sleep(0.5)
            ending = time.monotonic()
            server.send_signal(signal.SIGINT)
            server.wait(timeout=PATIENCE_S)
        statuses = sum((one.statuses for one in asking), Counter())
        assert statuses.keys() <= {200, 503, 404, 0}  # before, and after
        late = [round(sent - ending, 2) for one in asking for sent in one.cut]
        assert min(late, default=1.0) > 0, late
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
        ({"run": run, "token": "", "max_replicas": 0}, "max_replicas is 0: give a whole number"),
        ({"run": run, "token": "", "min_replicas": "x"}, "min_replicas is 'x': give a whole number"),
        ({"run": run, "token": "", "max_memory_mb": 0.01}, "the smallest model, v1, holds"),
        ({"run": str(tmp_path / "none"), "token": ""}, "no front to serve"),
    ):
        with pytest.raises(UserError, match=sentence):
            application(wrong)


class FakeServe(SimpleNamespace):
    """Ray Serve, of which only what was called is kept."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.deployed: dict[str, float] = {}
        super().__init__(ingress=lambda: lambda of: of)

    def deployment(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(bind=lambda *given: given)

    def start(self, **_: Any) -> None:
        self.calls.append("start")

    def run(self, _: Any, name: str, **__: Any) -> None:
        self.calls.append(f"run {name}")
        self.deployed[name] = self.deployed.get(name, 0) + 1

    def delete(self, name: str) -> None:
        self.calls.append(f"delete {name}")

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def status(self) -> Any:
        applications = {n: SimpleNamespace(last_deployed_time_s=at) for n, at in self.deployed.items()}
        return SimpleNamespace(applications=applications)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeServe:
    fake = FakeServe()
    monkeypatch.setattr(deployment, "serve_itself", lambda: fake)
    monkeypatch.setattr(deployment, "_check_listens", lambda *_: None)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: fake.calls.append("Ray's shutdown"))
    monkeypatch.setattr(ray, "get_actor", lambda *_, **__: "an actor")
    monkeypatch.setattr(ray, "kill", lambda _: fake.calls.append("kill the board"))
    return fake


def test_requests_are_answered_before_anything_is_ended_and_of_a_cluster_nothing_else_is(
    tmp_path: Path, fake: FakeServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = {"run": str(front_folder(tmp_path, (1,))), "token": ""}
    begin, end = ["delete raysearch", "kill the board"], ["delete raysearch", "kill the board"]
    monkeypatch.setenv("RAY_ADDRESS", "1.2.3.4:6379")
    with deployment.running(args, "127.0.0.1", 8000):
        assert fake.calls == ["start", *begin, "run raysearch"]
        fake.calls.clear()
    assert fake.calls == [*end, "Ray's shutdown"]
    fake.calls.clear()
    monkeypatch.setenv("RAY_ADDRESS", "")
    with deployment.running(args, "127.0.0.1", 0):
        fake.calls.clear()
    assert fake.calls == [*end, "shutdown", "Ray's shutdown"]


def test_what_another_command_serves_by_now_is_let_be(
    tmp_path: Path, fake: FakeServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "1.2.3.4:6379")
    args = {"run": str(front_folder(tmp_path, (1,))), "token": ""}
    with deployment.running(args, "127.0.0.1", 8000):
        fake.deployed["raysearch"] += 1
        fake.calls.clear()
    assert fake.calls == ["Ray's shutdown"]


@pytest.mark.parametrize("kind", [RuntimeError, RayServeException])
def test_replicas_that_do_not_start_are_a_sentence(
    tmp_path: Path, fake: FakeServe, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise kind("Deploying application raysearch failed:\nnot on this node: /runs/digits")

    monkeypatch.setattr(fake, "run", fails)
    monkeypatch.setenv("RAY_ADDRESS", "1.2.3.4:6379")
    args = {"run": str(front_folder(tmp_path, (1,))), "token": ""}
    with (
        pytest.raises(RunError, match=r"the replicas do not start: .*not on this node"),
        deployment.running(args, "127.0.0.1", 8000),
    ):
        pass
    assert fake.calls[-3:] == ["delete raysearch", "kill the board", "Ray's shutdown"]


def test_serve_that_listens_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.serve.context

    there = SimpleNamespace(http_config=SimpleNamespace(host="0.0.0.0", port=80))
    monkeypatch.setattr(ray.serve.context, "_get_global_client", lambda: there)
    deployment._check_listens("0.0.0.0", 80)
    with pytest.raises(UserError, match=r"listens on 0\.0\.0\.0, port 80: give those"):
        deployment._check_listens("127.0.0.1", 8000)


def test_two_applications_of_a_cluster_share_nothing() -> None:
    assert board_of("raysearch") != board_of("raysearch-2")
