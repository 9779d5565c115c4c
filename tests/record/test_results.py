from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import RMSE, STUDY, TARGET, FakeRun, make_events, write_run

from raysearch.record.results import SECTIONS, RunResult
from raysearch.reporting import plots
from raysearch.search_spaces import keys
from raysearch.study_file import build as config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", make_events())


@pytest.fixture
def result(folder: Path) -> RunResult:
    return RunResult(folder)


def test_every_trial_has_a_row(result: RunResult) -> None:
    trials = result.trials
    assert len(trials) == 50
    assert trials["trial"].is_unique
    assert set(trials["outcome"]) == {"finished", "stopped", "failed"}
    assert trials.loc[trials["outcome"] == "failed", "reason"].eq("loss is NaN at epoch 2").all()
    assert trials["epochs"].between(0, 9).all()
    assert {"accuracy", f"latency_ms/{TARGET}", "training/lr", "bits/stem/weights"} <= set(trials.columns)


def test_the_front_is_non_dominated_feasible_and_sorted(result: RunResult) -> None:
    front = result.front
    costs = front[["accuracy", f"latency_ms/{TARGET}", "size_mb"]].to_numpy() * [-1, 1, 1]
    dominated = [(np.all(costs <= c, axis=1) & np.any(costs < c, axis=1)).any() for c in costs]
    assert not any(dominated)
    assert front["accuracy"].is_monotonic_decreasing
    assert (front["accuracy"] >= result.parent["accuracy"] - 0.02).all()
    marked = result.trials.set_index("trial")
    assert marked.loc[front["trial"], "complete"].all()
    assert marked["front"].sum() == len(front)


def test_the_front_compares_with_both_rivals(result: RunResult) -> None:
    row = result.front.iloc[-1]
    latency, parent = row[f"latency_ms/{TARGET}"], result.parent[f"latency_ms/{TARGET}"]
    assert math.isclose(row[f"times_faster/{TARGET}"], parent / latency)
    assert row[f"verdict/{TARGET}"] in ("faster", "not faster")
    assert row[f"verdict_int8/{TARGET}"] in ("faster", "not faster")
    assert math.isclose(row["times_smaller"], result.parent["size_mb"] / row["size_mb"])


def test_hypervolume_never_falls_and_leaves_pauses_out(result: RunResult) -> None:
    history = result.hypervolume()
    assert list(history["trials"]) == list(range(1, 49))
    assert history["hypervolume"].is_monotonic_increasing
    assert history["seconds"].is_monotonic_increasing
    assert history["seconds"].iloc[-1] < 1000  # the run paused for 5,000 s


def test_tables_are_written_and_read_back(result: RunResult, folder: Path) -> None:
    result.write_tables()
    trials, front = pd.read_csv(folder / "trials.csv"), pd.read_csv(folder / "front.csv")
    assert len(trials) == 50
    assert list(front["accuracy"]) == pytest.approx(list(result.front["accuracy"]))
    study = config.load(folder / "study.yaml")
    assert study.search.num_trials == 48
    assert study.objectives == result.study["objectives"]


def test_export_copies_the_front(result: RunResult, tmp_path: Path) -> None:
    target = result.export(tmp_path / "deploy")
    names = {path.name for path in target.iterdir() if path.is_dir()}
    assert names == set(result.front["trial"])
    assert (target / "front.csv").exists()


def test_export_of_a_missing_variant_names_it(result: RunResult, folder: Path, tmp_path: Path) -> None:
    name = result.front["trial"].iloc[0]
    (folder / "variants" / name / "spec.json").unlink()
    (folder / "variants" / name).rmdir()
    with pytest.raises(FileNotFoundError, match=f"variant {name} cannot be exported"):
        result.export(tmp_path / "deploy")


def test_it_shows_itself_in_a_notebook(result: RunResult) -> None:
    page = result._repr_html_()
    assert "<table" in page
    assert result.front["trial"].iloc[0] in page
    assert f"a front of {len(result.front)}" in repr(result)


def test_endings(tmp_path: Path) -> None:
    events = make_events(8, finish=False)
    running = RunResult(write_run(tmp_path / "a", events))
    assert (running.ending, running.complete) == ("running", False)
    stopped = [*events, {"event": "session", "time": events[-1]["time"], "action": "timeout"}]
    assert RunResult(write_run(tmp_path / "b", stopped)).ending == "timeout"
    assert RunResult(write_run(tmp_path / "c", make_events(8))).complete


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    result = RunResult(write_run(tmp_path / "run", run.events))
    assert len(result.front) == len(result.trials) == 0
    assert len(result.hypervolume()) == 0
    result.write_tables()
    with pytest.raises(ValueError, match="no parent yet"):
        _ = result.parent


def test_what_waits_is_told_from_what_was_cut_short(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    for name in ("0000", "0001"):
        run.trial(name, "trial", 8, 0.9)
    events = [event for event in run.events if event["event"] != "end"]
    events[-1] |= {"decision": "pause"}
    result = RunResult(write_run(tmp_path / "run", events))
    assert result.trials.set_index("trial")["outcome"].to_dict() == {"0000": "unfinished", "0001": "waiting"}
    assert result.counts() == {"finished": 0, "stopped": 0, "failed": 0, "waiting": 1, "unfinished": 1}


def test_folders_that_hold_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        RunResult(tmp_path)
    (tmp_path / "journal.jsonl").write_text("")
    with pytest.raises(ValueError, match="empty journal"):
        RunResult(tmp_path)


def test_final_figures_replace_those_of_the_search(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 8, 0.9)
    run.final("0000", 0.05, 0.97)
    result = RunResult(write_run(tmp_path / "run", run.events))
    row = result.front.set_index("trial").loc["0000"]
    assert row[f"latency_ms/{TARGET}"] == 0.05
    assert row["test_accuracy"] == 0.97


def test_the_front_is_feasible_by_the_figures_it_was_judged_by(tmp_path: Path) -> None:
    study = {**STUDY, "constraints": [f"latency_ms/{TARGET} <= 0.5 parent"]}
    run = FakeRun(study, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 8, 0.9)
    parent = next(e["values"] for e in run.events if e.get("step") == 0)[f"latency_ms/{TARGET}"]
    run.final("0000", 0.55 * parent, 0.97)
    run.final("parent", 1.2 * parent, 0.98)
    result = RunResult(write_run(tmp_path / "run", run.events))
    row = result.trials.set_index("trial").loc["0000"]
    assert row["front"]
    assert row["feasible"]
    assert row["violation"] == 0
    assert "0000" in set(result.front["trial"])
    (lines,) = plots.parallel_coordinates(result).data
    assert len(lines.dimensions[-1].values) == 1


def test_columns_have_the_names_of_the_tasks_metrics(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0, RMSE)
    run.final("parent", 0.4, 0.97)
    folder = write_run(tmp_path / "run", [*make_events(quality=RMSE), {**run.events[-1], "time": 1.8e9}])
    result = RunResult(folder)
    columns = list(result.trials.columns)
    metrics = columns.index("rmse")
    assert columns[metrics + 3 :].index(f"rmse/{TARGET}") < columns[metrics + 3 :].index("test_rmse")
    assert "accuracy" not in columns
    assert result.front["rmse"].is_monotonic_increasing
    result.write_tables()
    front = pd.read_csv(folder / "front.csv")
    assert list(front["rmse"]) == pytest.approx([t.values["rmse"] for t in result.front_records])
    assert "accuracy" not in (folder / "study.yaml").read_text().replace("maximize accuracy", "")


def test_a_config_has_the_keys_of_a_space() -> None:
    assert SECTIONS == keys.SECTIONS


def test_remarks_are_shown_in_a_notebook(tmp_path: Path) -> None:
    events = make_events(8)
    events[-1]["num_trials"] = 64
    result = RunResult(write_run(tmp_path / "run", events))
    assert "it gave 8 different variants, and 64 trials were asked for" in result.remarks[0]
    assert result.remarks[0] in result._repr_html_()
