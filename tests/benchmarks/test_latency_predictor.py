"""The benchmark of the predictor on made tables."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import latency_predictor
from benchmarks.cells import EDGES, operators
from raysearch.backends.predictor import features

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
COSTS = dict(zip(OPERATORS, (0.0, 0.1, 1.0, 3.0, 0.5), strict=True))


@pytest.fixture
def table(tmp_path):
    """900 cells on two devices, whose costs add up."""
    cells = list(itertools.product(OPERATORS, repeat=len(EDGES)))
    chosen = [cells[i] for i in np.random.default_rng(0).choice(len(cells), 900, replace=False)]
    frame, rng = pd.DataFrame(chosen, columns=list(EDGES)), np.random.default_rng(1)
    for device, noise in (("exact", 0.001), ("noisy", 0.3)):
        costs = np.array([2 + sum(COSTS[edge] for edge in cell) for cell in chosen])
        frame[f"latency_ms/{device}"] = costs * np.exp(noise * rng.standard_normal(len(costs)))
    frame.to_parquet(tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_figures_of_a_made_table(table, capsys, monkeypatch):
    monkeypatch.setattr(latency_predictor, "CANDIDATES", 200)
    monkeypatch.setattr(latency_predictor, "JUDGED", 200)
    monkeypatch.setattr(latency_predictor, "PEERS", {"ridge": latency_predictor.ridge})
    latency_predictor.main(["--data", str(table), "--seeds", "2", "--json"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert figures["exact/spearman@20"] > 0.99
    assert figures["noisy/spearman@20"] < figures["exact/spearman@20"]
    assert 0.7 < figures["coverage_90"] <= 1


def test_macs_are_the_published_ones():
    cell = ("nor_conv_3x3",) * len(EDGES)
    found = features(operators(cell))
    macs = sum(value for name, value in found.items() if name.endswith("/macs"))
    assert macs / 1e6 == pytest.approx(220.1, rel=0.01)


def test_what_reaches_no_output_is_idle():
    found = features(operators(("nor_conv_3x3", "none", "none", "nor_conv_1x1", "none", "none")))
    assert found["idle Conv 3x3/count"] == 15
    assert not any(name.startswith("idle Conv 1x1") for name in found)


def test_twins_are_the_same_network():
    cells = [
        ("a", "b", "none", "c", "d", "e"),
        ("b", "a", "none", "c", "e", "d"),
        ("a", "b", "f", "c", "d", "e"),
    ]
    assert latency_predictor.twins(cells) == [(0, 1)]


def test_noise_lowers_the_ceiling(table):
    frame = pd.read_parquet(table)
    cells = list(frame[list(EDGES)].itertuples(index=False, name=None))
    exact, noisy = (
        latency_predictor.ceiling(cells, frame[f"latency_ms/{name}"].to_numpy())
        for name in ("exact", "noisy")
    )
    assert noisy < exact
    assert exact > 0.99


def test_random_networks_differ():
    from benchmarks.measured_networks import plans

    found = plans(30)
    assert len({repr(plan) for plan in found}) == 30
    assert found[:5] == plans(5)
