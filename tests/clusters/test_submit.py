"""A study with a module of its own as a real job, on a head with dashboard and token of this file's own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cluster_files import ROOT

from raysearch.record.results import RunResult

pytest.importorskip("aiohttp", reason="ray[default] is not installed: there is no dashboard")
pytest.importorskip("aiohttp_cors", reason="ray[default] is not installed: there is no dashboard")

# A minute each on two free cores, most of it starting processes that import torch.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

MODULE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

import raysearch as rs


def points(number, seed):
    inputs = torch.randn(number, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


def task():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    return rs.Task(model, train=points(256, 0), validation=points(128, 1), test=points(128, 2))
"""
STUDY = """
task: {import: "own_task:task"}
parent: {epochs: 1, training: {lr: 1.0e-2, batch_size: 64}}
space:
  bits: {bit_widths: {weights: [8, 32], activations: [8, 32]}}
  training: {lr: 1.0e-2, batch_size: 64}
objectives: [maximize accuracy, minimize size_mb]
search: {num_trials: 1, epochs: 1, searcher: random, screen: 1, workers: 1}
"""


@dataclass(frozen=True)
class Head:
    """Where a head's dashboard is, and what its clients need in their environment."""

    address: str
    environment: dict[str, str]


def ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def programs(folder: Path) -> None:
    """``raysearch`` and ``ray`` of this interpreter, and raysearch of this tree, as an image has them."""
    for name, module in {"raysearch": "raysearch.cli.main", "ray": "ray.scripts.scripts"}.items():
        program = folder / name
        program.write_text(f"#!{sys.executable}\nfrom {module} import main\nmain()\n")
        program.chmod(0o755)


def wait_for(address: str, head: subprocess.Popen[bytes], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and head.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2).close()
            return
        except urllib.error.HTTPError:  # it asks for the token
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("the head's dashboard did not come up")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short, since sockets lie in it
    programs(folder)
    gcs, dashboard, agent, client = ports(4)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ['PYTHONPATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": uuid.uuid4().hex,
        "RAY_TMPDIR": str(folder),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environment.pop("RAY_ADDRESS", None)
    options = ["--num-cpus=2", f"--temp-dir={folder}", "--object-store-memory=100000000", f"--port={gcs}"]
    options += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    options += [f"--ray-client-server-port={client}", "--min-worker-port=0", "--max-worker-port=0"]
    command = ["ray", "start", "--head", "--block", *options]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            [str(folder / "ray"), *command[1:]],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{dashboard}", process)
        yield Head(f"http://127.0.0.1:{dashboard}", environment)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own_task.py").write_text(MODULE)
    (tmp_path / "mine" / "study.yaml").write_text(STUDY)
    return tmp_path / "mine" / "study.yaml"


def submit(head: Head, study: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["raysearch", "submit", str(study), "--address", head.address, *options]
    return run(
        head, study.parent.parent, shutil.which("raysearch", path=head.environment["PATH"]), *command[1:]
    )


def run(head: Head, folder: Path, *command: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [word for word in command if word is not None],
        cwd=folder,
        env=head.environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.slow
def test_a_study_with_a_module_of_its_own_runs_as_a_job(head: Head, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs of mine"
    done = submit(head, study, "--out", str(out), "--follow", "--set", "search.seed=7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"sent {study.parent}, 2 files" in done.stdout
    assert f"Report: {out / 'report.html'}" in done.stdout  # of the job's own output
    assert (out / "report.html").is_file()
    result = RunResult(out)
    assert result.complete
    assert result.study["search"]["seed"] == 7
    assert result.counts()["finished"] == 1
    source = Path(result.study["task"]["module_folder"])
    assert source != study.parent  # it ran from what was sent


@pytest.mark.slow
def test_a_job_that_fails_ends_as_it_ends_and_by_hand_too(head: Head, study: Path, tmp_path: Path) -> None:
    override = """task.import='it''s "not" $HERE:task'"""
    done = submit(head, study, "--out", str(tmp_path / "out"), "--follow", "--json", "--set", override)
    document = json.loads(done.stdout)
    assert (done.returncode, document["status"], document["exit_code"]) == (2, "FAILED", 2), done.stderr
    by_hand = run(head, tmp_path, "bash", "-c", document["by_hand"])
    assert by_hand.returncode == 1  # which is all that Ray tells
    assert """raysearch: task.import 'it\\'s "not" $HERE:task': No module named""" in by_hand.stdout


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "asks for a token (401)"),
        ({"RAY_AUTH_TOKEN": uuid.uuid4().hex}, "refuses the token (403)"),
    ],
)
def test_a_head_with_a_token_refuses_others(
    head: Head, study: Path, changes: dict[str, str], sentence: str
) -> None:
    done = submit(replace(head, environment=head.environment | changes), study, "--out", "s3://b/r")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
