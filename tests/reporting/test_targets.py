"""Targets side by side: each has its front, and another one's choice costs what it is slower."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import STUDY, TARGET, make_events, write_run

from raysearch.objectives import Objective
from raysearch.record.choices import choices, close_to_parent, losses, stands_in
from raysearch.record.results import RunResult
from raysearch.reporting.html import render
from raysearch.reporting.targets import fronts, side_by_side

OTHER = {"name": "phone", "runtime": "onnxruntime-cpu"}


def two_targets(folder: Path) -> RunResult:
    """A run whose second target likes networks of many bits: its latencies are the first's reciprocals."""
    study = {**copy.deepcopy(STUDY), "targets": [TARGET, OTHER], "constraints": []}
    events = make_events(study=study)
    for event in events:
        values = event.get("values", {})
        if f"latency_ms/{TARGET}" in values:
            values["latency_ms/phone"] = 0.1 / values[f"latency_ms/{TARGET}"]
        if f"accuracy/{TARGET}" in values:
            values["accuracy/phone"] = values[f"accuracy/{TARGET}"]
    return RunResult(write_run(folder, events))


def test_each_target_has_its_choice_and_what_it_costs_elsewhere(tmp_path: Path) -> None:
    result = two_targets(tmp_path / "run")
    trials = [t for t in result.record.searched() if t.outcome == "finished"]
    chosen = choices(result.record.targets, trials)
    assert list(chosen) == [TARGET, "phone"]
    for target, trial in chosen.items():
        key = f"latency_ms/{target}"
        assert trial.values[key] == min(t.values[key] for t in trials)
    lost = losses(chosen)
    assert lost[TARGET, TARGET] == lost["phone", "phone"] == 0
    slow, fast = chosen[TARGET].values["latency_ms/phone"], chosen["phone"].values["latency_ms/phone"]
    assert lost[TARGET, "phone"] == pytest.approx(slow / fast - 1)
    assert lost[TARGET, "phone"] > 1


def test_those_close_to_the_parent_lose_no_more_than_a_point(tmp_path: Path) -> None:
    result = two_targets(tmp_path / "run")
    trials = [t for t in result.record.searched() if t.outcome == "finished"]
    close = close_to_parent(result.record, result.goals, trials)
    own = result.record.trials["parent"].values["accuracy"]
    assert 0 < len(close) < len(trials)
    assert all((t.values["accuracy"] >= own - 0.01) == (t in close) for t in trials)


def test_the_report_has_a_line_a_target_and_a_table(tmp_path: Path) -> None:
    result = two_targets(tmp_path / "run")
    figure = fronts(result)
    assert [trace.name for trace in figure.data] == [TARGET, "phone"]
    for trace in figure.data:
        assert list(trace.x) == sorted(trace.x, reverse=True)
        assert list(trace.y) == sorted(trace.y)
    section = side_by_side(result)
    cells = re.findall(r"<td>(.*?)</td>", section)
    assert len(cells) == 2 * (2 + 2)
    assert sum("+ " in cell for cell in cells) == 2
    assert "Targets side by side" in render(result)


def test_a_parent_that_only_stands_in_is_no_choice(tmp_path: Path) -> None:
    """On a target that computes nothing in float its figures are of another form of it."""
    result = two_targets(tmp_path / "run")
    parent = result.record.trials["parent"]
    parent.measurements.append({"target": "phone", "figures": {"latency_ms": 0.01}, "stands_in": True})
    parent.reports[0]["latency_ms/phone"] = 1e-9
    assert choices(["phone"], [parent, *result.record.searched()])["phone"] is not parent
    goals = replace(result.goals, objectives=(*result.goals.objectives, Objective("latency_ms/phone", False)))
    assert stands_in(parent, "phone")
    assert not stands_in(parent, TARGET)
    assert goals.metrics[-1] == "latency_ms/phone"


def test_one_target_has_none_beside_it(tmp_path: Path) -> None:
    result = RunResult(write_run(tmp_path / "run", make_events()))
    assert side_by_side(result) == ""
