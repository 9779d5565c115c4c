from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from raysearch.allocation import Problem, allocate, branches_of, instances, parse
from raysearch.reporting import allocation_plots as plots

A = instances.instance_a()


def measured() -> pd.DataFrame:
    """Two branches, measured with noise."""
    rng = np.random.default_rng(0)
    rows = [
        (name, ratio, 90 - steep * ratio**2 + rng.normal(0, 0.5), 10 * (1 - ratio))
        for name, steep in (("left", 30.0), ("right", 60.0))
        for ratio in np.linspace(0, 0.9, 10)
    ]
    return pd.DataFrame(rows, columns=["branch", "ratio", "accuracy", "size_mb"])


def test_dividing_a_budget_draws_nothing() -> None:
    code = "import sys, raysearch.allocation; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_plots_show_what_was_asked() -> None:
    branches = branches_of(measured())
    curves = plots.curves({b.name: b.accuracy for b in branches}, label="accuracy, %")
    assert [t.name for t in curves.data if t.mode == "markers"] == ["left", "right"]
    assert sum(t.fill == "toself" for t in curves.data) == 2
    found = allocate(A, points=20)
    bars = plots.branches(A, found.ratios[0])
    assert {t.yaxis for t in bars.data} == {"y", "y2", "y3", "y4"}
    for second in (bars.layout.yaxis2, bars.layout.yaxis4):
        assert second.tickmode == "auto"  # round numbers of its own, not those beside the first axis's
        assert second.range == (0, pytest.approx(1.08 * A.importances.max()))
    trend = plots.against_importance(A, {"ours": found.ratios[0], "uniform": np.full(12, 0.3)})
    assert [t.mode for t in trend.data] == ["markers", "lines", "markers"]  # no trend in equal ratios
    front = plots.front(found, {"uniform": np.full((2, 12), [[0.3], [0.9]])})
    assert list(front.data[1].marker.symbol) == ["x", "x"]
    assert [note.text for note in front.layout.annotations] == ["floor"]
    assert all(figure.to_json() for figure in (curves, bars, trend, front))


def test_a_floor_far_below_the_front_does_not_press_it_flat() -> None:
    curves = {"accuracy": parse("90 - 5 p"), "size": parse("10 - 8 p")}
    for floor, drawn in ((20.0, []), (84.0, ["floor"])):
        problem = Problem.of([0.5, 0.5], [100.0, 100.0], **curves, floor=floor)
        figure = plots.front(allocate(problem, points=20))
        assert [note.text for note in figure.layout.annotations] == drawn
