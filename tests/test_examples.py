"""The examples run as they stand, from any folder, with a small budget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = dict.fromkeys(("text", "vit_digits", "own_architecture"), "accuracy") | {"segmentation": "iou"}


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder; what it prints."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.cluster
def test_a_study_file_with_a_module_beside_it(tmp_path: Path) -> None:
    study = str(EXAMPLES / "own_model" / "study.yaml")
    budget = ["--set", "search.num_trials=2", "--set", "search.epochs=2"]
    output = run(tmp_path, "-m", "raysearch.cli", "run", study, *budget, "--out", "runs/forecast")
    assert str(Path("runs", "forecast", "report.html")) in output
    front = pd.read_csv(tmp_path / "runs" / "forecast" / "front.csv", dtype={"trial": str})
    trials = pd.read_csv(tmp_path / "runs" / "forecast" / "trials.csv", dtype={"trial": str})
    parent = trials.set_index("trial").loc["parent", "rmse"]
    assert len(front) >= 1
    assert (front["rmse"] <= 1.2 * parent).all()


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_its_front(name: str, tmp_path: Path) -> None:
    output = run(tmp_path, str(EXAMPLES / f"{name}.py"), "1")
    assert SCRIPTS[name] in output
    (folder,) = (tmp_path / "runs").iterdir()
    trials = pd.read_csv(folder / "trials.csv", dtype={"trial": str})
    assert (trials.loc[trials["role"] == "trial", "outcome"] == "finished").all()
