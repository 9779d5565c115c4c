"""The same search in a folder, in a bucket that fails, and by workers that see no disk of the driver's.

With one worker and goals without a clock all take the same decisions: their journals agree line for line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hidden_disk import can_hide, cluster_without
from s3_server import S3Server

from raysearch import StudyResult, storage
from raysearch.record import journal
from raysearch.storage import Place, folder_of

for package in ("moto", "flask", "s3fs"):
    pytest.importorskip(package, reason="moto's S3 server, of raysearch[dev]")

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

TASK = """
from own_layers import Digits, network
from raysearch import Task

def make(examples):
    return Task(network(), Digits(0, examples), Digits(400, 100), Digits(800, 100), name="own")
"""
LAYERS = """
import torch
from torch import nn
from torch.utils.data import Dataset
from raysearch import tasks

class Digits(Dataset):
    def __init__(self, first, examples):
        self.first, self.examples, self.data = first, examples, tasks.digits().train
    def __len__(self):
        return self.examples
    def __getitem__(self, i):
        return self.data[self.first + i]

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
"""
STUDY = """
task: {import: "own_task:make", examples: 200}
space: {training: {lr: {loguniform: [1.0e-3, 1.0e-2]}}}
parent: {epochs: 1}
objectives: [maximize accuracy, minimize size_mb]
search: {num_trials: 3, epochs: 2, workers: 1, searcher: {name: nsga2, population: 4}, screen: 1,
         scheduler: successive_halving, grace: 1}
"""
_started: list[subprocess.Popen[str]] = []
CLOCKS = ("latency_ms", "throughput", "times_")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study file's folder, with the modules of its task."""
    home = tmp_path_factory.mktemp("home")
    for name, text in {"own_task.py": TASK, "own_layers.py": LAYERS, "s.yaml": STUDY}.items():
        (home / name).write_text(text)
    return home


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.storage.waiting.PATIENCE_S", 120.0)


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """No run stays behind where a test fails."""
    yield
    for process in _started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.make("bucket")
        yield server


def start(home: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "raysearch.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        env={**os.environ, **environment},
    )
    _started.append(process)
    return process


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def story(folder: Place) -> list[Mapping[str, object]]:
    """The journal without clocks and sessions."""
    events = []
    for event in journal.read(folder):
        if event["event"] not in ("suggestion", "report", "promotion", "end"):
            continue
        event = {k: v for k, v in event.items() if k not in ("time", "measurements")}
        values = event.get("values", {})
        events.append({**event, "values": {k: v for k, v in values.items() if not k.startswith(CLOCKS)}})
    return events


@pytest.fixture(scope="module")
def here(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a folder of a disk."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    finish(start(home, "run", "s.yaml", "--out", str(folder)))
    return folder


@pytest.fixture(scope="module")
def in_a_folder(here: Path) -> list[Mapping[str, object]]:
    """What a search in a folder of a disk decides."""
    return story(here)


def test_in_a_bucket_that_fails_and_vanishes_and_by_a_driver_that_is_killed_nothing_is_lost(
    home: Path, in_a_folder: list[Mapping[str, object]], server: S3Server, tmp_path: Path
) -> None:
    url = "s3://bucket/runs/failing"
    folder = folder_of(url)
    server.fail(0.05)
    process = start(home, "run", "s.yaml", "--out", url)
    wait_for(folder, process, 6)
    server.vanish(20)
    time.sleep(2)
    wait_for(folder, process, len(in_a_folder) // 2)
    os.kill(process.pid, signal.SIGKILL)
    said = process.communicate()[0]
    cut = story(folder)
    assert cut == in_a_folder[: len(cut)]
    assert len(cut) < len(in_a_folder)
    assert "waiting for s3://bucket/runs/failing: " in said
    second = start(home, "resume", url)
    output = finish(second)
    failed = server.counts()["failed"]
    server.fail(0)
    assert "still works on s3://bucket/runs/failing" in output
    assert story(folder) == in_a_folder
    assert failed > 10
    assert storage.names(folder / "trials") == []
    result = StudyResult(url)
    result.export(tmp_path)
    for name in result.front["trial"]:
        assert {p.name for p in (tmp_path / name).iterdir()} == set(storage.names(folder / "variants" / name))
    document = json.loads(finish(start(home, "report", url, "--json")))
    assert document["report"] == f"{url}/report.html"
    assert storage.read(folder / "report.html").startswith(b"<!doctype html>")


def test_limits_change_in_a_bucket_too(home: Path, here: Path, server: S3Server) -> None:
    url, late = "s3://bucket/runs/changed", "torch-cpu"
    folder = folder_of(url)
    for file in here.rglob("*"):
        if file.is_file():
            storage.write(folder / file.relative_to(here), file.read_bytes())
    before = story(folder)
    changes = [f"targets=[onnxruntime-cpu, {late}]", f"objectives=[maximize accuracy, minimize macs/{late}]"]
    process = start(home, "resume", url, "--set", changes[0], "--set", changes[1])
    assert f"macs/{late}" in process.communicate(timeout=120)[0]
    assert process.returncode == 2
    changes[1] = f"objectives=[maximize accuracy, minimize latency_ms/{late}]"
    finish(start(home, "resume", url, "--set", changes[0], "--set", changes[1]))
    assert story(folder) == before  # nothing trained
    result = StudyResult(url)
    finished = [t for t in result.record.trials.values() if t.outcome == "finished"]
    assert all(f"accuracy/{late}" in t.values for t in finished if t.name != "parent-int8")
    front = [t for t in result.front_records if t.role == "trial"]
    assert front
    for trial in front:
        assert "model.pt2" in storage.names(folder / "variants" / trial.name)
        assert f"test_accuracy/{late}" in trial.final
    assert "After 3 trials the limits were changed" in storage.read(folder / "report.html").decode()


def wait_for(folder: Place, process: subprocess.Popen[str], events: int) -> None:
    """Until a run has written so many events."""
    while process.poll() is None:
        if journal.is_run(folder) and len(story(folder)) >= events:
            return
        time.sleep(0.2)
    pytest.fail(f"it ended before: {process.communicate()[0]}")


@pytest.mark.skipif(not can_hide(), reason="needs the right to make a mount namespace (unshare)")
def test_workers_that_see_no_disk_of_the_driver_decide_the_same(
    home: Path, in_a_folder: list[Mapping[str, object]], server: S3Server
) -> None:
    url = "s3://bucket/elsewhere/apart"  # beside no run whose parent it would take over
    with cluster_without(home, server.environment) as environment:
        finish(start(home, "run", "s.yaml", "--out", url, **environment))
    assert story(folder_of(url)) == in_a_folder
    assert StudyResult(url).counts()["failed"] == 0
