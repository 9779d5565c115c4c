"""A network of one's own that inputs may leave early, through a study on Ray to its files and its verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
import torch
from exiting_network import build
from ray import tune

import raysearch as rs

TARGET = "onnxruntime-cpu"


@pytest.mark.slow
@pytest.mark.cluster
def test_a_front_with_an_exit_is_measured_both_ways_and_judged(cluster: None, tmp_path: Path) -> None:
    ready = rs.tasks.digits()
    task = rs.Task(build, ready.train, ready.validation, ready.test, name="leaving")
    study = rs.Study(
        task,
        {
            "architecture": {"exits": tune.choice([False, True])},
            "bits": rs.search_spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
            "training": {"exit_budget": tune.uniform(0.5, 1.0)},
        },
        ["maximize accuracy", f"minimize mean_latency_ms/{TARGET}"],
        constraints=["exit_share >= 0.001"],  # so that what leaves nothing is not on the front
        parent={"architecture": {"exits": False}, "epochs": 2},
        epochs=2,
        workers=1,
        screen=1,
        scheduler="full_training",
        evaluate_first=[{"architecture": {"exits": exits}} for exits in (True, False)],
    )
    result = study.run(2, folder=tmp_path / "run", progress=False)
    trials = pd.read_csv(tmp_path / "run" / "trials.csv", dtype={"trial": str}).set_index("trial")
    assert (trials.loc[["0000", "0001"], "outcome"] == "finished").all(), trials["reason"]
    assert list(result.front["trial"]) == ["0000"]

    leaves = trials.loc["0000"]
    assert 0 < leaves["exit_share"] <= 1
    assert leaves[f"mean_latency_ms/{TARGET}"] < leaves[f"latency_ms/{TARGET}"]
    assert leaves[f"test_mean_latency_ms/{TARGET}"] > 0
    measured = [m for m in result.record.trials["0000"].measurements if "over_data" in m]
    assert set(measured[-1]["over_data"]) >= {"one_file", "two_files", "inputs"}
    # The plain variant beside it is a finalist too, and the report has the verdict.
    assert trials.loc[["parent", "0001"], "test_accuracy"].notna().any()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "worth it" in page or "no plain variant" in page

    folder = tmp_path / "run" / "variants" / "0000"
    images = np.stack([ready.test[i][0].numpy() for i in range(50)])
    (whole,) = ort.InferenceSession(folder / "model.onnx").run(None, {"input": images})
    rebuilt = rs.load_variant(folder, model=build({"exits": True}))(torch.from_numpy(images)).detach().numpy()
    assert (whole.argmax(1) == rebuilt.argmax(1)).mean() >= 0.98
