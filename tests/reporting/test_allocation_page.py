from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raysearch.allocation import Problem, allocate, instances, parse
from raysearch.reporting.allocation_page import as_data, best_ratios, branch_table, cells, figures_of, render


def test_the_branches_say_their_share_cap_and_time() -> None:
    problem = instances.instance_a()
    table = branch_table(problem, np.zeros(12))
    assert list(table.columns) == [
        "branch", "importance", "ratio", "accuracy", "size_mb", "cap_mb", "latency_ms",
    ]  # fmt: skip
    assert cells(problem, table.to_dict("records")[0])[3:] == ["85.28", "496.7", "396.9", "0.6386"]
    assert figures_of(problem, np.zeros(12))["size_mb"] == pytest.approx(12 * 496.7)


def test_next_to_nothing_of_a_branch_is_none_of_it() -> None:
    problem = instances.instance_a()
    row = branch_table(problem, np.array([1e-8, *np.ones(11)])).to_dict("records")
    assert cells(problem, row[0])[2] == "0"
    assert cells(problem, row[1])[2:4] == ["1", "0"]  # no per cent sign: the others are 85.28 and the like


def test_both_ends_are_told() -> None:
    found = allocate(instances.instance_a(), points=8)
    data = as_data(found, [])
    assert data["smallest"]["size_mb"] == found.front["size_mb"].min() < data["best"]["size_mb"]
    assert [b["ratio"] for b in data["smallest"]["branches"]] == found.ratios[-1].tolist()


def test_a_branch_without_a_cap_shows_a_dash() -> None:
    problem = instances.instance_a()
    problem = problem.with_caps([np.inf, *problem.caps[1:]])
    assert "\u2013" in cells(problem, branch_table(problem, np.zeros(12)).to_dict("records")[0])


def test_many_names_stand_beside_a_plot_and_what_is_not_drawn_is_said():
    branches = tuple(
        replace(b, importance=1 / 12, accuracy=parse(f"90 - {10 + i} p"))
        for i, b in enumerate(instances.instance_a().branches)
    )
    problem = Problem(branches)
    page = render("twelve", allocate(problem, points=2), [], "")
    assert "<p>The first 8 of 12 branches." in page
    assert '"orientation":"v"' in page.split("<h2>Curves</h2>")[1]
    assert (
        '"title":{"text":"importance"}}' not in page.split("<h2>The most accurate division</h2>")[1]
    )  # they are all equal
    shared = render("shared", allocate(instances.instance_a(), points=2), [], "")
    assert '"title":{"text":"importance"}}' in shared.split("<h2>The most accurate division</h2>")[1]
    assert "<h2>The smallest division</h2>" in shared
    assert "<p>The first" not in shared
    assert "time, ms (before its scale)" in shared


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


def test_a_metric_of_another_name_is_a_plain_number() -> None:
    curves = {"accuracy": parse("0.9 - 0.3 p"), "size": parse("10 - 8 p")}
    problem = replace(Problem.of([0.5, 0.5], [100.0, 100.0], **curves), metric="r2")
    page = render("own", allocate(problem, points=4), [], "")
    assert "weighted r2" in page
    assert "<th>r2</th>" in page
    assert "accuracy<" not in page
    assert "90.00 %" not in page
    assert "90.00 %" in render("usual", allocate(replace(problem, metric="accuracy"), points=4), [], "")
