"""Latencies that were predicted, and what was measured later."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import STUDY, TARGET, FakeRun, write_run

from raysearch.record.predictions import predicted_targets, predictions
from raysearch.record.results import RunResult


def spared_run() -> FakeRun:
    """Three candidates that were predicted: one waits, one was measured as it trained, one came out else."""
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 8, 0.5, end="stopped", at=0)
    run.trial("0001", "trial", 8, 0.5)
    run.trial("0002", "trial", 8, 0.5)
    for name, latency in (("0000", None), ("0001", 0.10), ("0002", 0.20)):
        steps = [e for e in run.events if e["event"] == "report" and e["trial"] == name]
        steps[0]["values"][f"latency_ms/{TARGET}"] = 0.11
        kept = {key: steps[0]["measurements"][0][key] for key in ("target", "runtime", "version", "device")}
        made = {"latency_ms": 0.11, "interval": [0.09, 0.13], "noise": 0.18, "models": 12}
        steps[0]["measurements"] = [{**kept, **made, "source": "predicted", "threads": 1, "batch": 1}]
        if latency is not None:
            steps[1]["values"][f"latency_ms/{TARGET}"] = latency
            steps[1]["measurements"] = [run.measurement(latency)]
    run.final("0001", 0.105, 0.97)
    return run


@pytest.fixture
def result(tmp_path: Path) -> RunResult:
    return RunResult(write_run(tmp_path / "run", spared_run().events))


def test_each_prediction_has_what_was_measured_next(result: RunResult) -> None:
    found = predictions(result.record)
    assert [(p.trial, p.measured, p.held) for p in found] == [
        ("0000", None, False),
        ("0001", 0.10, True),
        ("0002", 0.20, False),
    ]
    assert found[0].error is None
    assert found[1].error == pytest.approx(0.1)
    assert found[2].error == pytest.approx(-0.45)


def test_what_was_measured_later_is_predicted_no_longer(result: RunResult) -> None:
    trials = result.record.trials
    assert predicted_targets(trials["0000"]) == [TARGET]
    assert predicted_targets(trials["0001"]) == []
    table = result.trials.set_index("trial")
    assert table["predicted"].to_dict() == {"parent": "", "0000": TARGET, "0001": "", "0002": ""}


def test_the_search_s_figures_stand_beside_the_final_ones(result: RunResult) -> None:
    table = result.trials.set_index("trial")
    assert table.loc["0001", f"latency_ms/{TARGET}"] == 0.105
    assert table.loc["0001", f"searched_latency_ms/{TARGET}"] == 0.10
    assert table.loc["0002", f"searched_latency_ms/{TARGET}"] == table.loc["0002", f"latency_ms/{TARGET}"]
    assert table.loc["0000", f"searched_latency_ms/{TARGET}"] == 0.11
    assert not any(column.startswith("searched_") for column in result.front.columns)
    assert not any(column == "searched_accuracy" for column in table.columns)


def test_a_run_without_predictions_has_none(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    result = RunResult(write_run(tmp_path / "run", run.events))
    assert predictions(result.record) == []
    assert not any(column.startswith("searched_") for column in result.trials.columns)
