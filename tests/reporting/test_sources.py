"""What a report says of its figures' origin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fake_run import RMSE, STUDY, TARGET, make_events, write_run

from raysearch.record.results import RunResult
from raysearch.reporting.sources import definitions, provenance


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
