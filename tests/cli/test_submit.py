"""The command submit against a dashboard that only answers; a real one is in tests/clusters."""

from __future__ import annotations

import json
import shlex
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raysearch.cli.main import app
from raysearch.cli.submit import by_hand

pytest.importorskip("aiohttp", reason="ray[default] is not installed")

STUDY = """
task: digits
space: {training: {lr: {loguniform: [1.0e-3, 1.0e-2]}}}
objectives: [maximize accuracy, minimize size_mb]
"""


class _Dashboard(BaseHTTPRequestHandler):
    """Takes any job; with a status it answers everything with that."""

    status = 0
    version: Any = "2.60.0"
    jobs: list[dict[str, Any]]

    def _answer(self, document: Any) -> None:
        code, text = (self.status, "no") if self.status else (200, json.dumps(document))
        if document is None and not self.status:
            code = 404
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        self._answer({"ray_version": self.version, "version": "4"} if self.path == "/api/version" else None)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def do_POST(self) -> None:
        self.jobs.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer({"job_id": "raysubmit_1", "submission_id": "raysubmit_1"})

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server:
    """A dashboard with its address."""

    def __init__(self) -> None:
        self.kind = type("Dashboard", (_Dashboard,), {"jobs": []})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.kind)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def dashboard() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "it's mine.yaml").write_text(STUDY)
    (tmp_path / "runs").mkdir()
    return tmp_path / "it's mine.yaml"


def call(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["submit", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.output


def test_a_study_becomes_a_job(dashboard: Server, study: Path) -> None:
    code, text = call(
        study, "--out", "s3://b/run 1", "--address", dashboard.address + "/", "--set", "search.epochs=3"
    )
    assert code == 0
    (job,) = dashboard.kind.jobs
    command = ["raysearch", "run", "it's mine.yaml", "--out", "s3://b/run 1", "--set", "search.epochs=3"]
    assert shlex.split(job["entrypoint"]) == command
    assert job["runtime_env"]["working_dir"].startswith("gcs://")
    assert f"ray job logs --address {dashboard.address} --follow raysubmit_1" in text
    assert f"ray job stop --address {dashboard.address} raysubmit_1" in text
    assert "raysearch report 's3://b/run 1'" in text
    assert "shared" not in text  # no warning where the folder is in a store
    (line,) = [line for line in text.splitlines() if line.startswith("by hand:")]
    assert shlex.split(line)[2:] == [
        *["ray", "job", "submit", "--address", dashboard.address, "--working-dir", str(study.parent)],
        *["--runtime-env-json", '{"excludes": ["/runs/"]}', "--", *command],
    ]


def test_as_json(dashboard: Server, study: Path) -> None:
    code, text = call(study, "--out", "gs://b/r", "--address", dashboard.address, "--json")
    document = json.loads(text)
    assert code == 0
    assert document["job"] == "raysubmit_1"
    assert document["files"] == [study.name]


def test_a_runtime_environment_goes_with_it(dashboard: Server, study: Path, tmp_path: Path) -> None:
    file = tmp_path / "environment.yaml"
    file.write_text("pip: [pytest-mock]\nenv_vars: {A: b c}\nexcludes: ['*.yml']\n")
    code, text = call(study, "--out", "s3://b/r", "--address", dashboard.address, "--runtime-env", file)
    assert code == 0
    environment = dashboard.kind.jobs[0]["runtime_env"]
    assert environment["pip"]["packages"] == ["pytest-mock"]
    assert environment["env_vars"] == {"A": "b c"}
    written = shlex.split(text.partition("by hand:")[2])
    assert json.loads(written[written.index("--runtime-env-json") + 1])["excludes"] == ["*.yml", "/runs/"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("working_dir: .", "has working_dir, which is the study file's folder"),
        ("excludes: runs", "excludes is 'runs', give a list of patterns"),
        ("[pip]", "is not a mapping of keys"),
        ("pip: 3", "does not take the job: "),
    ],
)
def test_a_wrong_runtime_environment(
    dashboard: Server, study: Path, tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "environment.yaml"
    file.write_text(text)
    code, output = call(study, "--out", "s3://b/r", "--address", dashboard.address, "--runtime-env", file)
    assert (code, dashboard.kind.jobs) == (2, [])
    assert sentence in output


def test_a_folder_that_would_be_lost_is_refused_and_a_local_one_is_warned_of(
    dashboard: Server, study: Path
) -> None:
    code, text = call(study, "--out", "runs/x", "--address", dashboard.address)
    assert code == 2
    assert "--out runs/x would be in the job's own folder" in text
    assert dashboard.kind.jobs == []
    code, text = call(study, "--out", "/shared/x", "--address", dashboard.address)
    assert code == 0
    assert "where they do not share it, give s3://... or gs://..." in text


def test_an_address_that_does_not_answer(study: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        code, text = call(study, "--out", "s3://b/r", "--address", address)
    assert code == 2
    assert text.startswith(f"raysearch: --address {address}: nothing answers there (")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "ray://10.0.0.1:10001", "http://:x/"])
def test_what_is_no_dashboards_address(study: Path, address: str) -> None:
    code, text = call(study, "--out", "s3://b/r", "--address", address)
    assert code == 2
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "asks for a token (401): put the cluster's into ~/.ray/auth_token or RAY_AUTH_TOKEN, and set "),
        (403, "refuses the token (403)"),
        (500, "does not take the job: "),
        (404, "does not take the job: "),
    ],
)
def test_a_cluster_that_refuses(dashboard: Server, study: Path, status: int, sentence: str) -> None:
    dashboard.kind.status = status
    code, text = call(study, "--out", "s3://b/r", "--address", dashboard.address)
    assert code == 2
    assert sentence in text
    assert len(text.splitlines()) == 1


def test_what_answers_is_no_ray(dashboard: Server, study: Path) -> None:
    dashboard.kind.version = "no version"
    code, text = call(study, "--out", "s3://b/r", "--address", dashboard.address)
    assert code == 2
    assert "what answers there is no Ray dashboard" in text


def test_without_the_extra(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, text = call(study, "--out", "s3://b/r")
    assert code == 2
    assert 'aiohttp is not installed: run `pip install "raysearch[cluster]"`' in text


def test_the_line_by_hand_without_anything_to_leave_out() -> None:
    line = by_hand("http://h:8265", {"working_dir": "/a b", "excludes": []}, "raysearch run s.yaml")
    assert line == "ray job submit --address http://h:8265 --working-dir '/a b' -- raysearch run s.yaml"
