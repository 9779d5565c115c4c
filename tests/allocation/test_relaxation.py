"""Which limits conflict, and the smallest repairs."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.allocation import Problem, allocate, parse
from raysearch.allocation import instances as ready
from raysearch.allocation.exact.ends import smallest
from raysearch.allocation.relaxation import feasible, relaxed

A = ready.instance_a()


@settings(max_examples=6)
@given(st.integers(0, 10**6))
def test_relaxations_repair_and_are_no_larger_than_needed(seed):
    problem = ready.random_instance(np.random.default_rng(seed))
    found = allocate(problem, points=2)
    assert found.feasible == feasible(problem)
    if found.feasible:
        return
    assert found.front.empty
    assert {r.way for r in found.relaxations} == {"floor", "branch caps", "both"}
    for way in found.relaxations:
        step = way.floor_drop if way.way == "floor" else way.caps_factor - 1
        assert allocate(way.problem, points=2).feasible
        assert not feasible(relaxed(problem, way.way, 0.99 * step))
    blamed = [problem.names.index(c.split("'")[1]) for c in found.conflict[1:]]
    for spared in (None, *blamed):
        caps = [cap if i in blamed and i != spared else math.inf for i, cap in enumerate(problem.caps)]
        assert feasible(problem.with_caps(caps)) == (spared is not None)


def test_a_total_cap_or_a_latency_cap_is_relaxed_alone_where_that_helps():
    tight = replace(A, total_cap=1900.0)
    found = allocate(tight)
    ways = {r.way: r for r in found.relaxations}
    assert set(ways) == {"floor", "total cap", "caps", "both"}
    assert ways["total cap"].problem.total_cap == pytest.approx(smallest(A).value, abs=1e-3)
    assert "total cap 1900 MB" in found.conflict
    assert str(ways["total cap"]).startswith("raise the total cap by 2.87")
    late = {r.way: r for r in allocate(replace(A, latency_cap=0.2)).relaxations}
    assert {"floor", "latency cap"} <= set(late)


@pytest.mark.parametrize(
    ("limits", "useless"),
    [
        ({"total_cap": 0.0}, "total cap"),
        ({"latency_cap": 0.0}, "latency cap"),
        ({"latency": "sequential", "latency_cap": 0.0, "total_cap": 9.0}, "latency cap"),
        ({"latency": "sequential", "latency_cap": 3.0, "total_cap": 0.0}, "total cap"),
    ],
)
def test_a_cap_of_nothing_is_a_cap_and_no_share_of_it_repairs(limits, useless):
    curves = {name: parse(f"{most} - {most} p") for name, most in (("size", 10), ("time", 5))}
    problem = Problem.of([0.5, 0.5], [math.inf] * 2, accuracy=parse("90 - 70 p"), **curves, floor=20.0)
    assert allocate(replace(problem, **limits), points=4).ratios.tolist() == [[1.0, 1.0]]
    found = allocate(replace(problem, floor=80.0, **limits), points=4)
    assert useless not in {r.way for r in found.relaxations}
    assert {"floor", "both"} <= {r.way for r in found.relaxations}
    assert all(r.caps_factor < 10 for r in found.relaxations)


def test_caps_that_are_alike_are_raised_by_one_figure():
    equal = replace(A.with_caps(np.full(12, 200.0)), floor=70.0)
    ways = {r.way: r.text for r in allocate(equal, points=2).relaxations}
    assert re.search(r"every branch's cap by [\d.]+ % \(each branch's by [\d.]+ MB\)", ways["branch caps"])
    both = next(r.text for r in allocate(replace(A, floor=80.0)).relaxations if r.way == "branch caps")
    assert re.search(r"each branch's by [\d.]+ to [\d.]+ MB", both)


def test_a_conflict_names_the_branch_and_its_cap():
    found = allocate(replace(A, floor=84.0), points=2)
    assert f"cap {ready.CAPS_A[3]:g} MB of branch '3'" in found.conflict
