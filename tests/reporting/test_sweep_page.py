"""sweep.html by itself: which sections it has, and what stands in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sweep_events import events

from raysearch.allocation.fitting import fit
from raysearch.record.run_record import RunRecord
from raysearch.reporting.sweep_page import render
from raysearch.sweeps.table import ALL, fitted, table_of, together_of


def record() -> RunRecord:
    found = RunRecord()
    for event in events():
        found.apply({"time": 0.0, **event})
    return found


def page(**changes: Any) -> str:
    run = record()
    table = table_of(run)
    given = {
        "record": run,
        "quality": "accuracy",
        "measured": table,
        "together": together_of(run),
        "curves": fitted(table, ["accuracy", "size_mb", "latency_ms"])[0],
        "notes": [],
        "left_out": {"accuracy": 0.9, "without": {"left": 0.6, "right": 0.8}},
    }
    return render(**{**given, **changes})


def test_a_whole_sweep_has_every_section() -> None:
    text = page()
    for title in ("Accuracy", "Branches left out", "All branches together", "Measurements"):
        assert f"<h2>{title}</h2>" in text
    assert "sweep of digits" in text
    assert text.count("whole network, MB") == 2  # alone and together
    assert "<script src" not in text  # it opens without a network


def test_importances_stand_beside_what_is_lost() -> None:
    section = page().partition("<h2>Branches left out</h2>")[2].partition("<h2>")[0]
    assert "<td>left</td><td>60.00 %</td><td>30.00 %</td><td>0.75</td>" in section
    assert "<td>right</td><td>80.00 %</td><td>10.00 %</td><td>0.25</td>" in section


def test_what_was_not_measured_has_no_section() -> None:
    text = page(
        measured=pd.DataFrame(), together=pd.DataFrame(), curves={}, left_out={"reason": "never called"}
    )
    assert "<h2>" not in text
    assert "sweep of digits" in text


def test_notes_and_names_are_escaped() -> None:
    p = np.linspace(0, 0.9, 6)
    curves = {"<left>": {"accuracy": fit(p, 0.9 - 0.2 * p)}}
    text = page(notes=["1 < 2"], curves=curves)
    assert "<p>1 &lt; 2</p>" in text
    assert "&lt;left&gt;" in text


def test_an_error_of_rounding_alone_is_none() -> None:
    p = np.linspace(0, 0.9, 6)
    exact = page(curves={ALL: {"accuracy": fit(p, 0.9 - 0.2 * p)}}).partition("<h2>Accuracy</h2>")[2]
    assert "0 %" in exact.partition("</table>")[0]
