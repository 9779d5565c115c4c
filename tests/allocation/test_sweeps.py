"""From a table of measurements to branches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysearch.allocation import Problem, allocate, branches_of, importances_left_out


def sweep() -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for name, steep in (("left", 30.0), ("right", 60.0)):
        for ratio in np.linspace(0, 0.9, 10):
            for _ in range(2):
                accuracy = 90 - steep * ratio**2 + rng.normal(0, 0.5)
                rows.append((name, ratio, accuracy, 10 * (1 - ratio), 2 * (1 - ratio)))
    return pd.DataFrame(rows, columns=["branch", "ratio", "accuracy", "size_mb", "latency_ms"])


def test_a_sweep_becomes_branches():
    branches = branches_of(sweep(), {"left": 1, "right": 3}, caps={"left": 8.0})
    assert [(b.name, b.importance, b.cap) for b in branches] == [("left", 0.25, 8.0), ("right", 0.75, np.inf)]
    problem = Problem(branches, floor=80)
    left, right = (b.accuracy.error for b in branches)
    assert problem.accuracy_error == pytest.approx(np.sqrt((0.25 * left) ** 2 + (0.75 * right) ** 2))
    assert max(b.size.error for b in branches) < 1e-9
    found = allocate(problem)
    assert found.feasible
    assert found.ratios.max() <= 0.9  # never beyond what was measured
    assert {"latency_ms", "bottleneck"} <= set(found.front)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"importances": {"left": 1.0}}, "'right' has no importance"),
        ({"caps": {"lefd": 1.0}}, "did you mean 'left'"),
        (
            {"importances": {"left": -1.0, "right": 2.0}},
            "branch 'left': importance is -1, it must be a number >= 0",
        ),
        ({"table": sweep().drop(columns="size_mb")}, "no column 'size_mb'"),
        ({"table": sweep().iloc[:6]}, "branch 'left', accuracy: 3 different ratios"),
    ],
)
def test_bad_sweeps_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        branches_of(**{"table": sweep(), **change})


def test_importances_are_what_is_missed():
    found = importances_left_out(0.9, {"a": 0.6, "b": 0.8, "c": 0.95})
    assert found == pytest.approx({"a": 0.75, "b": 0.25, "c": 0.0})
    assert importances_left_out(0.5, {"a": 0.5, "b": 0.6}) == {"a": 0.5, "b": 0.5}
    with pytest.raises(ValueError, match="finite accuracy"):
        importances_left_out(0.9, {})
