"""A journal whose limits change: what is read from it goes by those that hold at last."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_run import STUDY, TARGET, make_events, write_run
from rich.console import Console

from raysearch.basics.failures import UserError
from raysearch.record.results import RunResult
from raysearch.record.run_record import RunRecord
from raysearch.record.scores import Scores, goals_of
from raysearch.reporting.html import render
from raysearch.reporting.progress import LiveTable

Events = list[dict[str, Any]]
LATE = "torch-cpu"


def later(events: Events, *more: dict[str, Any]) -> Events:
    """A run's events, and others a second after another."""
    last = events[-1]["time"]
    return [*events, *({"time": last + i, **event} for i, event in enumerate(more, start=1))]


def limits(**changes: Any) -> dict[str, Any]:
    held = {name: STUDY[name] for name in ("objectives", "constraints", "targets")}
    return {"event": "limits", **held, **changes}


def session(action: str) -> dict[str, Any]:
    return {"event": "session", "action": action, "num_trials": 30, "max_minutes": None}


def measured(trial: str, **values: float) -> dict[str, Any]:
    return {"event": "measured", "trial": trial, "target": LATE, "values": values, "measurements": []}


def record_of(events: Events) -> RunRecord:
    record = RunRecord()
    for event in events:
        record.apply(event)
    return record


def test_the_results_are_those_of_a_run_that_had_the_limits_from_the_beginning(tmp_path: Path) -> None:
    changes = {"objectives": STUDY["objectives"][:2], "constraints": ["size_mb <= 0.4 parent"]}
    changed = RunResult(
        write_run(tmp_path / "changed", later(make_events(30), limits(**changes), session("finish")))
    )
    whole = RunResult(write_run(tmp_path / "whole", make_events(30, study={**STUDY, **changes})))
    before = RunResult(write_run(tmp_path / "before", make_events(30)))
    assert changed.front.equals(whole.front)
    assert changed.trials.equals(whole.trials)
    assert changed.hypervolume().equals(whole.hypervolume())
    assert not changed.front["trial"].equals(before.front["trial"])
    assert changed.front["size_mb"].max() <= 0.4 * changed.parent["size_mb"]
    study = yaml.safe_load(changed.study_file())
    assert {name: study[name] for name in changes} == changes
    one, other = (", ".join(map(str, run.goals.objectives)) for run in (before, changed))
    said = (
        f"After 30 trials the limits were changed: objectives from [{one}] to [{other}]; constraints from "
        "[accuracy >= parent - 0.02] to [size_mb <= 0.4 parent]. All trials are ranked by the new ones."
    )
    assert said in changed.remarks
    assert "After 30 trials the limits were changed" in render(changed)
    assert not any("limits" in remark for remark in before.remarks)


def test_a_target_that_came_later_has_the_figures_that_were_measured(tmp_path: Path) -> None:
    objectives = ["maximize accuracy", f"minimize latency_ms/{LATE}"]
    names = [t.name for t in record_of(make_events(12)).searched() if t.outcome == "finished"]
    fast, slow, gone = names[:3]
    note = f"not measured on {LATE}: its files are gone or damaged"
    figures = {f"accuracy/{LATE}": 0.9, "accuracy": 0.9}
    events = later(
        make_events(12),
        {"event": "final", "trial": fast, "values": {"test_accuracy": 0.9}},
        limits(objectives=objectives, constraints=[], targets=[TARGET, LATE]),
        session("resume"),
        measured("parent", **{f"latency_ms/{LATE}": 8.0, f"accuracy/{LATE}": 0.85, "accuracy": 0.85}),
        measured(fast, **{f"latency_ms/{LATE}": 2.0}, **figures),
        measured(slow, **{f"latency_ms/{LATE}": 3.0}, **figures),
        {**measured(gone), "notes": [note]},
    )
    result = RunResult(write_run(tmp_path / "run", events))
    assert list(result.front["trial"]) == [fast]
    assert result.record.later_targets == [LATE]
    assert result.front[f"times_faster/{LATE}"].tolist() == [4.0]
    assert f"{gone}: {note}." in result.remarks
    trials = result.record.trials
    assert trials[fast].outdated
    assert trials[slow].values["accuracy"] == 0.9
    assert trials[slow].figures[0][f"latency_ms/{LATE}"] == 3.0
    assert trials[slow].reports[0].keys() == trials[gone].figures[0].keys()
    assert goals_of(result.record).parent[10]["accuracy"] == 0.85  # on the worst of the targets
    assert goals_of(result.record).parent[0][f"latency_ms/{LATE}"] == 8.0
    result.record.apply({"event": "final", "time": 2e9, "trial": fast, "values": {"test_accuracy": 0.8}})
    assert not trials[fast].outdated


def test_the_live_table_ranks_anew() -> None:
    record = record_of(make_events(20))
    console = Console(width=200, file=io.StringIO())
    table = LiveTable(record, limit=20, console=console)
    front = [t.name for t in table.scores.front]
    for event in later([{"time": 1.8e9}], limits(constraints=["size_mb <= 0.4 parent"]), session("resume"))[
        1:
    ]:
        record.apply(event)
        table.event(event)
        console.print(table.render())  # at no moment a figure is missed
    assert [t.name for t in table.scores.front] == [t.name for t in Scores(record).front] != front
    added = later(
        [{"time": 1.9e9}],
        limits(objectives=["maximize accuracy", f"minimize latency_ms/{LATE}"], targets=[TARGET, LATE]),
        session("resume"),
        *(measured(name, **{f"latency_ms/{LATE}": 1.0}) for name in front[:2]),
        session("finish"),
    )
    for event in added[1:]:
        record.apply(event)
        table.event(event)
        console.print(table.render())
    assert {t.name for t in table.scores.front} <= set(front[:2])
    assert table.scores.front


def test_limits_that_contradict_each_other_are_no_line(tmp_path: Path) -> None:
    events = later(make_events(2), limits(constraints=["macs <= 3", "macs >= 9"]))
    folder = write_run(tmp_path / "run", events)
    with pytest.raises(UserError, match=r"\(limits\) has limits in which constraints .* cannot both be kept"):
        RunResult(folder)
