from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import exiting_network
import pytest
import torch
from exiting_network import Exiting
from ray import tune
from torch import Tensor, nn
from trial_setup import small_task
from typer.testing import CliRunner

from raysearch import Study
from raysearch import search_spaces as spaces
from raysearch.backends import get
from raysearch.basics.failures import UserError
from raysearch.cli.main import app
from raysearch.runs import preflight
from raysearch.runs.preflight import check_deployable

MODULE = """
import threading
import torch
from torch import nn
from torch.utils.data import TensorDataset
from raysearch import tasks
from raysearch.trainables.task import Task

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        if x.sum() > 0:
            x = x * 2
        return self.head(x)

class Locked(TensorDataset):
    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.lock = threading.Lock()

def make(model="branching", labels=0, locked=False):
    digits = tasks.digits()
    if labels:
        digits.test = TensorDataset(digits.test.tensors[0], digits.test.tensors[1] + labels)
    if locked:
        digits.validation = Locked(*digits.validation.tensors)
    shape = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 10))
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    models = {"branching": Branching(), "shape": shape, "plain": plain}
    return Task(models[model], digits.train, digits.validation, digits.test, name="mine")
"""
STUDY = """
task: {import: "my_branching_model:make"}
space: {training: {lr: {loguniform: [1e-4, 1e-2]}}}
objectives: [maximize accuracy, minimize size_mb]
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_branching_model.py").write_text(MODULE)
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_branching_model", raising=False)
    return tmp_path / "study.yaml"


@pytest.mark.parametrize("command", ["check", pytest.param("run", marks=pytest.mark.slow)])
def test_a_model_that_cannot_be_traced_is_refused_before_any_trial(command: str, study: Path) -> None:
    # A process of its own: the workers of a cluster that is running already do not look into this folder.
    words = [sys.executable, "-m", "raysearch.cli", command, str(study)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert (
        "(Branching) cannot be captured by torch.export: what it does next depends on the values"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert not list(study.parent.glob("runs/*"))


def test_a_model_that_does_not_take_the_examples_is_refused(study: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(study), "--set", "task.model=shape"])
    assert done.exit_code == 2, done.output
    assert "raysearch: " in done.output


def test_a_task_that_cannot_work_is_refused_before_any_trial(study: Path) -> None:
    words = ["check", str(study), "--set", "task.model=plain", "--set", "task.labels=1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2, done.output
    assert "test: labels go from 1 to 10, and the model has 10 outputs" in done.output


@pytest.mark.cluster
@pytest.mark.parametrize("command", ["check", "run"])
def test_what_cannot_be_sent_to_workers_is_named(command: str, study: Path, cluster: None) -> None:
    words = [command, str(study), "--set", "task.model=plain", "--set", "task.locked=true"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2, done.output
    assert "the task's validation cannot be pickled" in done.output
    assert not list(study.parent.glob("runs/*"))


class Recurrent(nn.Module):
    """A layer that no runtime computes in integers, and one that all do."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.hidden, self.head = (
            nn.LSTM(8, 16, batch_first=True),
            nn.Linear(16, 16),
            nn.Linear(16, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.lstm(x.flatten(1, 2))[0][:, -1])))  # type: ignore[no-any-return]


def test_a_check_says_what_can_be_compressed_what_stays_in_float_and_what_a_trial_takes() -> None:
    task = small_task(model=Recurrent(), parent={"training": {"lr": 3e-3, "batch_size": 64}})
    space = {"pruning": spaces.channel_pruning(max_ratio=0.5), "bits": spaces.bit_widths(8, 8)}
    study = Study(task, space, ["maximize accuracy", "minimize size_mb"], epochs=4)
    findings = check_deployable(study.conditions, study.space)
    assert findings.pruned["hidden"] == 16
    assert findings.quantized == ("hidden", "head")
    assert any("in float: lstm (no runtime here computes lstm in integers)" in r for r in findings.remarks)
    assert 0 < findings.seconds < 300
    assert findings.memory_mb > 50


def test_a_network_with_a_teacher_is_taught_by_the_parent() -> None:
    for teacher in ("parent", "larger"):
        task = small_task()
        space = {"teacher": spaces.teachers(teacher), "bits": spaces.bit_widths(8, 8)}
        if teacher == "larger":
            space["architecture"] = spaces.resnet(stages=2, depth=(1, 2), width=(8, 16))
        study = Study(task, space, ["maximize accuracy"])
        assert check_deployable(study.conditions, study.space).quantized


def test_the_precision_of_a_gpu_is_not_tried_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, str]] = []

    def noted(setup: Any, name: str, config: dict[str, Any]) -> Any:
        tried.append((name, setup.space.variant(config).plan.training.precision))
        raise UserError("no further")

    monkeypatch.setattr(preflight, "_take_through", noted)
    for resources, precision in (({"cpu": 1}, "bf16"), ({"cpu": 1, "gpu": 0.5}, "float32")):
        space = {"bits": spaces.bit_widths(8, 8), "training": {"precision": "bf16"}}
        study = Study(small_task(), space, ["maximize accuracy"], resources=resources)
        with pytest.raises(UserError, match="no further"):
            check_deployable(study.conditions, study.space)
        assert tried.pop() == ("parent", precision)


PLACED = {"name": "desk", "runtime": "onnxruntime-cpu", "resource": "jetson"}


def nodes_with(monkeypatch: pytest.MonkeyPatch, **resources: float) -> None:
    """A cluster that runs, of one node."""
    node = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 2.0, **resources}}
    monkeypatch.setattr(preflight.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(preflight.ray, "nodes", lambda: [node])


def test_a_device_that_no_node_has_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes_with(monkeypatch, gpu_board=1.0)
    missing = "no node of the cluster has the resource 'jetson': its resources are CPU, gpu_board"
    with pytest.raises(UserError, match=f"target desk is not available: {missing}"):
        preflight.check_places([get("torch-cpu"), get(PLACED)])
    (said,) = preflight.check_places([get({**PLACED, "wait_minutes": 5})])
    assert said == f"target desk: {missing}; a measurement waits for one for 5 minutes"


def test_where_there_is_no_cluster_it_is_said_that_nobody_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(preflight.ray, "is_initialized", lambda: False)
    (said,) = preflight.check_places([get(PLACED)])
    assert said.startswith("desk: whether a node has such a device")
    assert preflight.check_places([get("torch-cpu")]) == []


def test_a_network_that_inputs_may_leave_is_tried_too() -> None:
    def broken(architecture: dict[str, bool]) -> nn.Module:
        network = Exiting(architecture["exits"])
        if network.side is not None:
            network.side = nn.Linear(16, 7)  # logits of other classes than the end's
        return network

    for build, message in ((exiting_network.build, None), (broken, "a network that inputs may leave early")):
        task = small_task(model=build, parent={"architecture": {"exits": False}})
        space = {"architecture": {"exits": tune.choice([False, True])}}
        study = Study(task, space, ["maximize accuracy", "minimize mean_latency_ms/onnxruntime-cpu"])
        if message is None:
            check_deployable(study.conditions, study.space)
        else:
            with pytest.raises(UserError, match=message):
                check_deployable(study.conditions, study.space)
