"""What a report says of its figures' origin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fake_run import RMSE, STUDY, TARGET, FakeRun, make_events, write_run

from raysearch.record.results import RunResult
from raysearch.reporting.html import render
from raysearch.reporting.sources import definitions, predicted, provenance


def cells(folder: Path, events: list[dict[str, Any]]) -> list[list[str]]:
    """The rows of the table of targets, without its head."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", provenance(RunResult(write_run(folder, events))), flags=re.S)
    return [found for row in rows if (found := re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.S))]


def test_a_target_s_measurements_are_counted(tmp_path: Path) -> None:
    events = make_events(12)
    measured = [m for event in events for m in event.get("measurements", ())]
    for number, m in enumerate(measured):
        m.update(cached=number % 3 == 0, contended=number % 4 == 0, noise=0.01 * (1 + number % 3))
    measured[0]["device"] = "<Epyc>"
    cached, loaded = -(-len(measured) // 3), -(-len(measured) // 4)
    assert cells(tmp_path, events) == [
        [
            TARGET, "onnxruntime 1.31.1", "&lt;Epyc&gt;, Xeon (Cascade Lake)", "1", "1", "± 2.0 %",
            f"{len(measured) - cached} measured", str(cached), str(loaded),
        ]
    ]  # fmt: skip


def test_a_target_without_a_measurement_says_so(tmp_path: Path) -> None:
    events = make_events(2)
    events[0]["study"] = {**STUDY, "targets": [TARGET, "torch-cpu"]}
    rows = cells(tmp_path, events)
    assert [row[0] for row in rows] == [TARGET, "torch-cpu"]
    assert rows[1][1] == "not measured yet"
    assert len(rows[0]) == len(rows[1])


def test_each_metric_is_said_in_a_line_a_task_s_own_first(tmp_path: Path) -> None:
    names = re.findall(
        r"<dt>(.*?)</dt>", definitions(RunResult(write_run(tmp_path, make_events(2, quality=RMSE))))
    )
    assert names[0].startswith("rmse")
    assert {"latency_ms/TARGET", "size_mb", "macs"} <= set(names)
    assert len(names) == len(set(names))


def spared_run(*measured: float | None) -> FakeRun:
    """A run whose trials were predicted at .11 ms, and measured when they trained, or never."""
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    for number, latency in enumerate(measured):
        at = {"end": "stopped", "at": 0 if latency is None else 3}
        run.trial(f"{number:04d}", "trial", 8, 0.5, **at)  # type: ignore[arg-type]
        reports = [e for e in run.events if e["event"] == "report" and e["trial"] == f"{number:04d}"]
        (own,) = reports[0]["measurements"]
        told = {key: own[key] for key in ("target", "runtime", "version", "device", "threads", "batch")}
        made = {"latency_ms": 0.11, "interval": [0.09, 0.13], "noise": 0.2, "models": 12}
        reports[0]["measurements"] = [{**told, **made, "source": "predicted"}]
        if latency is not None:
            reports[1]["measurements"] = [run.measurement(latency)]
    return run


def test_predictions_stand_against_what_was_measured_later(tmp_path: Path) -> None:
    run = spared_run(None, 0.10, 0.22, None, None)
    text = predicted(RunResult(write_run(tmp_path, run.events)))
    (row,) = re.findall(r"<tr class=\"\">(.*?)</tr>", text)
    assert re.findall(r"<td>(.*?)</td>", row) == [TARGET, "5", "3", "2", "30.0 %", "50.0 %", "1 of 2"]
    assert "plotly" in text
    (counted,) = cells(tmp_path, run.events)
    assert counted[5] == "± 1.2 %"  # of measurements alone
    assert counted[6] == "3 measured, 5 predicted from those measured"
    assert "never measured" in render(RunResult(tmp_path))


def test_predictions_of_which_none_was_measured_have_no_plot(tmp_path: Path) -> None:
    text = predicted(RunResult(write_run(tmp_path, spared_run(None, None).events)))
    assert "plotly" not in text
    assert re.findall(r"<td>(.*?)</td>", text) == [TARGET, "2", "2", "0", *["\N{EN DASH}"] * 3]


def test_nothing_is_said_where_nothing_was_predicted(tmp_path: Path) -> None:
    assert predicted(RunResult(write_run(tmp_path, make_events(4)))) == ""
