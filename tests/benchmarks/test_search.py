"""The search benchmark: how rivals are compared, and our default above random search on the table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.search import BUDGETS, METHODS, OURS, PAIRS, by_budget, p_values, shares
from raysearch.testing import better

DATA = Path(os.environ.get("RAYSEARCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_the_default_beats_random_search_on_the_real_table():
    path = DATA / "nas_bench_201" / "nas_bench_201.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not at hand")
    table = pd.read_parquet(path)
    ours, control = (shares(table, PAIRS[0], METHODS[name], 4, 50)[0][:, 1] for name in (OURS, "random"))
    assert better(ours.tolist(), control.tolist()) < 0.05


def test_a_rival_with_fewer_seeds_and_evaluations_counts_as_far_as_it_came():
    rng = np.random.default_rng(0)
    slow = np.full((3, len(BUDGETS)), np.nan)
    slow[:, :3] = 0.9
    found = {OURS: 0.8 + 0.01 * rng.random((5, 5)), "random": 0.1 * rng.random((5, 5)), "slow": slow}
    values = p_values(found)
    assert values["p@100"] > 0.9
    assert values["p@200"] < 0.05
    assert by_budget(slow) == {"hv@25": 0.9, "hv@50": 0.9, "hv@100": 0.9}
