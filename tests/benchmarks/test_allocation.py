"""The allocation benchmark on a made-up sweep, and the fast parts of it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import allocation, allocation_ratio


def test_it_takes_any_sweep(tmp_path, capsys):
    p = np.tile(np.linspace(0, 0.9, 8), 2)
    table = pd.DataFrame({"branch": np.repeat(["a", "b"], 8), "ratio": p, "size_mb": 5 - 4 * p})
    table["accuracy"] = 90 - 40 * p**2
    path = tmp_path / "sweep.csv"
    table.to_csv(path, index=False)
    allocation.main(["--data", str(path), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["benchmark"] == "allocation"
    assert found["figures"]["sweep_branches"] == 2
    assert found["figures"]["sweep_smallest_mb"] < found["figures"]["sweep_unpruned_mb"] == 10


def test_an_absent_file_is_refused_in_a_sentence(capsys):
    with pytest.raises(SystemExit, match="2"):
        allocation.main(["--data", "/nowhere/sweep.csv"])
    assert "/nowhere/sweep.csv does not exist" in capsys.readouterr().err


def test_the_bars_of_instance_b_and_of_the_inverse_rule():
    figures = allocation.inverse()
    assert figures["inverse_before"] == 66.46
    assert figures["inverse_after"] == 75
    assert figures["inverse_correlation"] == -1
    spiked = allocation_ratio._spiked(20)
    assert spiked["spiked_below_half_grid"] == spiked["spiked_infeasible_preferred"] == 0


def test_few_infeasible_instances_are_relaxed_exactly():
    figures = allocation.infeasible_instances(3)
    assert figures["relaxations_checked"] == 9
    assert figures["relaxations_wrong"] == 0
