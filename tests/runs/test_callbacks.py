"""Callbacks of Ray Tune that a user gives see every trial, and their files stay in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.logger import TBXLoggerCallback

import raysearch as rs
from raysearch import search_spaces as spaces

PARENT = {
    "architecture": {
        "family": "resnet",
        "stages": 1,
        "stem": {"width": 8},
        "stage1": {"depth": 1, "width": 8, "kernel": 3, "block": "basic"},
    }
}


class Seen(tune.Callback):
    """Notes in a file, since Tune works with a copy where it likes to."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        with self.file.open("a") as file:
            file.write(f"{trial.config['trial']} {result['step']} {result.get('accuracy', '')}\n")


@pytest.mark.slow
@pytest.mark.cluster
def test_they_see_every_report_and_keep_their_files_beside_the_journal(tmp_path: Path, cluster: None) -> None:
    study = rs.Study(
        rs.tasks.digits(),
        space={"bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32))},
        objectives=["maximize accuracy", "minimize size_mb"],
        parent={**PARENT, "epochs": 1},
        epochs=1,
        workers=1,
        screen=1,
        searcher="random",
        scheduler="full_training",
    )
    callbacks = [Seen(tmp_path / "seen"), TBXLoggerCallback()]
    result = study.run(num_trials=2, folder=tmp_path / "run", progress=False, callbacks=callbacks)
    assert len(callbacks) == 2
    told = (tmp_path / "seen").read_text().splitlines()
    reports = {
        (t.name, step) for t in result.record.trials.values() for step in t.reports if t.name != "parent-int8"
    }
    assert {(line.split()[0], int(line.split()[1])) for line in told} == reports
    kept = {path.parent.name for path in (tmp_path / "run" / "tune").rglob("events.out.tfevents*")}
    assert kept == {"parent", "parent-longer", "0000", "0001"}
    assert not list((tmp_path / "run").rglob("*.pkl"))
