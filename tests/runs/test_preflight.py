from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raysearch.cli.main import app

MODULE = """
import torch
from torch import nn
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

def make(model="branching"):
    digits = tasks.digits()
    shape = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 10))
    models = {"branching": Branching(), "shape": shape}
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
    return tmp_path / "study.yaml"


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_model_that_cannot_be_traced_is_refused_before_any_trial(command: str, study: Path) -> None:
    # A process of its own: the workers of a cluster that is running already do not look into this folder.
    words = [sys.executable, "-m", "raysearch.cli", command, str(study)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "torch.fx" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (study.parent / "runs").exists()


def test_a_model_that_does_not_take_the_examples_is_refused(study: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(study), "--set", "task.model=shape"])
    assert done.exit_code == 2, done.output
    assert "raysearch: " in done.output
