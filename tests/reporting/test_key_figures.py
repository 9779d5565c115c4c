"""The tiles at the head of a report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_run import ACCURACY, LIKELIHOOD, RMSE, TARGET, Quality, make_events, study_of, write_run

from raysearch.record.results import RunResult
from raysearch.reporting.key_figures import key_figures


def text_in(folder: Path) -> str:
    return " | ".join(re.sub(r"<[^>]+>", " ", tile) for tile in key_figures(RunResult(folder)))


@pytest.mark.parametrize("quality", [ACCURACY, RMSE, LIKELIHOOD])
def test_the_best_of_each_objective_stands_beside_the_parent(tmp_path: Path, quality: Quality) -> None:
    folder = write_run(tmp_path / "run", make_events(quality=quality))
    result, text, name = RunResult(folder), text_in(folder), quality.name
    best, parent = result.front_records[0], result.record.trials["parent"]
    figure, other = best.values[name], parent.values[name]
    shown = (lambda v: f"{100 * v:.2f} %") if quality is ACCURACY else (lambda v: f"{v:.4g}")
    word = "lowest" if quality is RMSE else "highest"
    assert f" {shown(figure)}  {word} {name}  variant {best.name}, parent {shown(other)} " in text
    point = "1 point" if quality is ACCURACY else f"1 % of the parent&#x27;s {name}"
    assert f"within {point} (validation split)" in text


@pytest.mark.parametrize("quality", [ACCURACY, RMSE, LIKELIHOOD])
def test_what_a_point_buys_is_the_best_that_loses_no_more(tmp_path: Path, quality: Quality) -> None:
    folder = write_run(tmp_path / "run", make_events(quality=quality))
    result, name = RunResult(folder), quality.name
    parent = result.record.trials["parent"].values
    room = 0.01 if quality is ACCURACY else 0.01 * abs(parent[name])
    within = [
        parent["file_mb"] / t.values["file_mb"]
        for t in result.front_records
        if (parent[name] - t.values[name]) * (-1 if quality is RMSE else 1) <= room
    ]
    assert f"{max(within):.3g} \u00d7  smaller (the file) than the parent" in text_in(folder)


def test_a_study_of_hardware_alone_needs_no_direction_of_its_metric(tmp_path: Path) -> None:
    study = study_of(RMSE, objectives=[f"minimize latency_ms/{TARGET}"])
    text = text_in(write_run(tmp_path / "run", make_events(quality=RMSE, study=study)))
    assert f"lowest latency, ms ({TARGET})" in text
    assert "within 1 %" not in text


def test_a_variant_that_is_not_faster_is_not_called_so(tmp_path: Path) -> None:
    events = make_events(quality=RMSE)
    for event in events:
        if event["event"] == "report" and event["step"] == 0 and event["trial"][0] == "0":
            event["values"] |= {f"latency_ms/{TARGET}": 0.6, "file_mb": 0.6}  # the parent's: .42 and .41
    text = text_in(write_run(tmp_path / "run", events))
    assert "than the parent variant" not in text
    assert "highest" not in text
