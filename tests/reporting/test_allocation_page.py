from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raysearch.allocation import allocate, instances
from raysearch.reporting.allocation_page import as_data, best_ratios, branch_table, cells, figures_of, render


def test_the_branches_say_their_share_cap_and_time() -> None:
    problem = instances.instance_a()
    table = branch_table(problem, np.zeros(12))
    assert list(table.columns) == [
        "branch", "importance", "ratio", "accuracy", "size_mb", "cap_mb", "latency_ms",
    ]  # fmt: skip
    assert cells(table.to_dict("records")[0])[3:] == ["85.28", "496.7", "396.9", "0.6386"]
    assert figures_of(problem, np.zeros(12))["size_mb"] == pytest.approx(12 * 496.7)


def test_a_branch_without_a_cap_shows_a_dash() -> None:
    problem = instances.instance_a()
    problem = problem.with_caps([np.inf, *problem.caps[1:]])
    assert "\u2013" in cells(branch_table(problem, np.zeros(12)).to_dict("records")[0])


def test_what_is_not_feasible_shows_the_closest_and_the_repairs() -> None:
    found = allocate(replace(instances.instance_a(), floor=80.0))
    data = as_data(found, ["a note"])
    assert data["closest"]["accuracy"] == pytest.approx(76.4847, abs=1e-3)
    assert "best" not in data
    assert data["notes"] == ["a note"]
    assert data["relaxations"][0]["floor_drop"] == pytest.approx(3.5153, abs=1e-3)
    np.testing.assert_array_equal(best_ratios(found), found.closest)
    page = render("a <title>", found, ["a note"], "floor: 80 # <")
    assert all(text in page for text in ("a &lt;title&gt;", "a note", "floor: 80 # &lt;", "floor 80"))
    assert "The front</h2>" not in page
