"""The benchmark of a multi-view network, small and on made-up views."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import mvcnn_allocation
from raysearch.sweeps.branches import Branches
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.models.mvcnn import MVCNNPlan
from raysearch.trainables.quantization import size_mb


@pytest.fixture
def file(tmp_path):
    """Objects whose class is their brightness, but for the second view, which shows nothing."""
    y = np.repeat(np.arange(2), 3)
    x = np.random.default_rng(0).integers(0, 60, (6, 2, 32, 32, 3))
    x[:, 0] += 150 * y[:, None, None, None]
    path = tmp_path / "views.npz"
    np.savez(path, x=x.astype(np.uint8), y=y, classes=np.array(["dark", "bright"]))
    return path


def as_torch(given, network, service):
    """The accuracy without an export, and the parameters for a time."""
    return {
        "accuracy": evaluate(network, given.test, {"percent": mvcnn_allocation.percent})["percent"],
        "ms": 1e-3 * size_mb(network),
    }


def as_long_as_large(branches, name, network=None, **_):
    """A time by the branch's parameters."""
    return 1e-3 * branches.size_mb(name, network)


@pytest.mark.slow
def test_it_takes_any_file_of_views(file, monkeypatch, capsys):
    for name, value in {
        "PLAN": MVCNNPlan(views=2, widths=(4,), features=4),
        "BRANCHES": ("branches.0", "branches.1"),
        "ALONE": (0.25, 0.5, 0.75),
        "TOGETHER": (0.0, 0.25, 0.5, 0.75),
        "MULTIPLE": 1,
        "FOLDS": 3,
        "EPOCHS": 3,
        "AGAIN": 1,
    }.items():
        monkeypatch.setattr(mvcnn_allocation, name, value)
    # Exports are tested elsewhere; those of 42 networks and of their branches would take long.
    monkeypatch.setattr(mvcnn_allocation, "deployed", as_torch)
    monkeypatch.setattr(Branches, "latency_ms", as_long_as_large)
    mvcnn_allocation.main(["--data", str(file), "--seeds", "2", "--json"])
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["benchmark"] == "mvcnn_allocation"
    figures = found["figures"]
    for case in (f"{aim}, {rule}" for aim, rule in mvcnn_allocation.CASES):
        curves, both = (
            f"{case}: divided within {what}" for what in ("the curves' error", "that and other objects'")
        )
        assert 0 <= figures[curves] <= figures[both] <= 1
        assert figures[f"{case}: divided mb"] <= figures["unpruned:  mb"]
        difference = figures[f"{case}: divided accuracy"] - figures[f"{case}: uniform accuracy"]
        assert figures[f"{case}: less uniform, accuracy"] == pytest.approx(difference, abs=2e-4)
        bounds = [figures[f"{case}: of uniform, mb{bound}"] for bound in (", low", "", ", high")]
        assert bounds == sorted(bounds)
        assert any(line.startswith(f"{case}: divided less uniform, accuracy: ") for line in table)
    smallest = figures["smallest, together: divided predicted mb"]
    assert smallest <= figures["smallest, together: uniform predicted mb"] + 1e-4
    fastest = figures["fastest, together: divided predicted slowest ms"]
    assert fastest <= figures["fastest, together: uniform predicted slowest ms"] * 1.01


def test_missing_files_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        mvcnn_allocation.main(["--data", str(tmp_path / "nowhere")])
    assert stop.value.code == 2
    assert "nowhere does not exist" in capsys.readouterr().err
