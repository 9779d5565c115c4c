from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from cpu_time import cpu_seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.published import allocation_oracles as oracles
from raysearch.allocation import Branch, Problem, allocate, normalised, parse, redistribute
from raysearch.allocation import instances as ready
from raysearch.allocation.exact.ends import most_accurate, smallest
from raysearch.allocation.relaxation import feasible, relaxed

A = ready.instance_a()
SPIKY = "max(0, 60 - 30 p - 40 p^2)", "max(10, 90 - 160 p)", "20 (1 - p)^3", "50 - 45 p^4"


def random_problem(seed: int, branches: int) -> Problem:
    """Branches with concave, convex and kinked curves, some of them limited."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(branches))
    made = tuple(
        Branch(
            str(i),
            float(w),
            parse(SPIKY[rng.integers(4)]),
            parse(["10 - 8 p", "9 (1 - p)^2 + 1", "max(2, 12 - 16 p)"][rng.integers(3)]),
            parse("1 - 0.9 p"),
            cap=float(rng.choice([np.inf, rng.uniform(6, 12)])),
            time_scale=float(rng.uniform(1, 3)),
        )
        for i, w in enumerate(weights)
    )
    return Problem(made)


def test_instance_a_is_easy():
    found = allocate(A)
    assert found.feasible
    assert len(found.front) >= 100
    assert found.front["accuracy"].iloc[0] == pytest.approx(76.48, abs=0.005)
    smallest_ratios = [0.150, 0.073, 0.448, 0.572, 0.018, 0.148, 0.844, 0.707, 0.285, 0.052, 0.040, 0.330]
    np.testing.assert_allclose(found.ratios[0], smallest_ratios, atol=6e-4)
    assert (A.violation(found.ratios) == 0).all()
    assert (np.diff(found.front["accuracy"]) < 0).all()
    assert (np.diff(found.front["size_mb"]) < 0).all()
    assert found.front["gap"].max() < 1e-6


def test_the_ends_of_instance_a_are_those_of_other_methods():
    weights, low = np.array(ready.IMPORTANCES_A), oracles.smallest_ratios(np.array(ready.CAPS_A))
    starts = oracles.starts(weights, low, np.random.default_rng(0), 12)
    least, _ = oracles.slsqp_smallest(weights, low, ready.FLOOR_A, starts)
    assert most_accurate(A).value == pytest.approx(weights @ oracles.accuracy(low), abs=1e-6)
    assert smallest(A).value == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("change", [{"total_cap": 1900.0}, {"floor": 80.0}])
def test_there_is_no_smallest_division_where_nothing_is_feasible(change):
    assert smallest(replace(A, total_cap=1955.0)).value == pytest.approx(smallest(A).value)
    with pytest.raises(ValueError, match="the floor cannot be kept within the caps"):
        smallest(replace(A, **change))


def test_what_costs_no_accuracy_is_pruned_even_at_the_most_accurate_end():
    curves = {"accuracy": parse("90 - 20 p"), "size": parse("10 - 8 p")}
    found = allocate(Problem.of([0.0, 1.0], [math.inf, 6.0], **curves))
    np.testing.assert_allclose(found.ratios[0], [1.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(found.ratios[-1], [1.0, 1.0])  # without a floor
    assert found.front["accuracy"].tolist() == sorted(found.front["accuracy"], reverse=True)


def test_one_branch_has_a_front_too():
    found = allocate(Problem.of([1.0], [480.0], accuracy=ready.accuracy_a(), size=ready.size_a(), floor=50.0))
    assert found.ratios_of(0)["0"] == pytest.approx(oracles.smallest_ratios(np.array([480.0]))[0])
    assert oracles.accuracy(found.ratios[-1])[0] == pytest.approx(50)
    assert len(found.front) > 100


def test_bottleneck_and_times_are_said():
    scales = np.linspace(10, 100, 12)
    problem = replace(
        A, branches=tuple(replace(b, time_scale=float(k)) for b, k in zip(A.branches, scales, strict=True))
    )
    row = allocate(problem).front.iloc[0]
    times = scales * (0.06386 - 0.06386 * problem.low)
    assert row["bottleneck"] == str(times.argmax())
    assert row["latency_ms"] == row["bottleneck_ms"] == pytest.approx(times.max())
    assert row["mean_ms"] == pytest.approx(times.mean())


@pytest.mark.parametrize("seed", range(1, 13))
def test_no_random_division_beats_a_proven_one(seed):
    """Bounds are bounds, whatever the curves: nothing drawn at random is better than the best."""
    branches = 1 + seed % 3
    problem = random_problem(seed, branches)
    draws = problem.low + np.random.default_rng(seed).random((4000, branches)) * (1 - problem.low)
    sizes, accuracies = problem.total_size(draws), problem.weighted_accuracy(draws)
    budget, floor = float(np.median(sizes)), float(np.median(accuracies))
    best = most_accurate(replace(problem, total_cap=budget))
    least = smallest(replace(problem, floor=floor))
    assert accuracies[sizes <= budget].max() <= best.value + 1e-6
    assert sizes[accuracies >= floor].min() >= least.value - 1e-6
    assert best.gap < 1e-6
    assert least.gap < 1e-6
    assert problem.total_size(best.ratios) <= budget * (1 + 1e-9)
    assert problem.weighted_accuracy(least.ratios) >= floor - 1e-9


@pytest.mark.parametrize("seed", [1, 5])
def test_two_branches_are_divided_as_a_fine_grid_would(seed):
    problem = random_problem(seed, 2)
    axes = [np.linspace(low, 1, 801) for low in problem.low]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    sizes, times, accuracies = (
        f(grid) for f in (problem.total_size, problem.total_time, problem.weighted_accuracy)
    )
    limited = replace(
        problem,
        latency="sequential",
        total_cap=float(np.quantile(sizes, 0.4)),
        latency_cap=float(np.median(times)),
    )
    times = limited.total_time(grid)
    inside = (sizes <= limited.total_cap) & (times <= limited.latency_cap)
    found = most_accurate(limited)
    assert accuracies[inside].max() <= found.value + 1e-6
    assert found.value - accuracies[inside].max() < 1.0
    assert limited.violation(found.ratios) == 0
    floored = replace(limited, floor=float(np.quantile(accuracies[inside], 0.7)))
    reaching = sizes[inside & (accuracies >= floored.floor)]
    least = smallest(floored)
    assert reaching.min() - 0.1 < least.value <= reaching.min() + 1e-6
    assert floored.violation(least.ratios) == 0


@pytest.mark.parametrize("limits", [{"latency_cap": 0.4}, {"latency": "sequential", "latency_cap": 3.0}])
def test_latency_caps_are_kept(limits):
    problem = replace(A, **limits)
    found = allocate(problem, points=40)
    assert (found.front["latency_ms"] <= problem.latency_cap * (1 + 1e-9)).all()
    assert (problem.violation(found.ratios) == 0).all()
    assert found.front["accuracy"].iloc[0] < allocate(A, points=2).front["accuracy"].iloc[0]


@pytest.mark.parametrize("rule", ["parallel", "sequential"])
def test_a_front_over_latencies_has_no_dominated_point(rule):
    found = allocate(replace(A, latency=rule), points=80, latencies=5).front
    costs = np.column_stack([-found["accuracy"], found["size_mb"], found["latency_ms"]])
    dominated = (costs[None] <= costs[:, None]).all(2) & (costs[None] < costs[:, None]).any(2)
    assert not dominated.any()
    assert found["latency_ms"].nunique() > 3
    assert found["size_mb"].iloc[-1] == found["size_mb"].min() == pytest.approx(smallest(A).value, abs=1e-6)


def test_the_cost_grows_in_step_with_the_branches():
    def seconds(branches: int) -> float:
        rng = np.random.default_rng(0)
        caps = (100 * rng.uniform(1, 5, branches)).tolist()
        curves = {"accuracy": ready.accuracy_a(), "size": ready.size_a()}
        problem = Problem.of(rng.dirichlet(np.ones(branches)).tolist(), caps, **curves)
        problem = replace(problem, floor=0.9 * float(problem.weighted_accuracy(problem.low)))
        return cpu_seconds(lambda: allocate(problem, points=32))

    seconds(5)
    few, many = seconds(20), seconds(160)
    assert many < 3 * few * 8 * math.log(160) / math.log(20)


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


def test_redistribution_repairs_oversize_branches_at_the_fewest_megabytes():
    given_ratios = np.full(12, 0.4)
    found = redistribute(A, given_ratios)
    assert found.raised == ("2", "3", "6", "7")
    assert found.reached
    assert found.accuracy == pytest.approx(A.weighted_accuracy(given_ratios), abs=1e-9)
    assert (A.sizes(found.ratios) <= A.caps * (1 + 1e-9)).all()
    assert (found.ratios[[2, 3, 6, 7]] >= 0.4).all()
    assert (np.delete(found.ratios, [2, 3, 6, 7]) <= 0.4).all()
    hopeless = redistribute(A, given_ratios, accuracy=80)
    assert not hopeless.reached
    np.testing.assert_allclose(hopeless.ratios, A.low, atol=1e-9)
    with pytest.raises(ValueError, match="one a branch"):
        redistribute(A, [0.4])
    with pytest.raises(ValueError, match="accuracy is nan: give the weighted accuracy"):
        redistribute(A, given_ratios, accuracy=np.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"floor": 90}, "even unpruned the weighted accuracy is 85.2799991"),
        ({"total_cap": 500}, "pruned in full there are still 857"),
        ({"latency": "series"}, "latency is 'series'"),
        ({"latency_cap": -1}, "pruned in full it still takes 0 ms"),
        ({"floor": math.nan}, "floor is not a number"),
        ({"branches": ()}, "no branches"),
        ({"branches": (A.branches[0], A.branches[0])}, "same name"),
        ({"branches": A.branches[:3]}, "importances sum to 0.176"),
        ({"branches": (replace(A.branches[0], importance=-1.0),)}, "importance is -1,"),
        ({"branches": (replace(A.branches[0], cap=50.0),)}, "cap is 50 MB, but pruned in full"),
        ({"branches": (replace(A.branches[0], accuracy=parse("80 + p")),)}, "the accuracy curve rises"),
        ({"branches": (replace(A.branches[0], time=None, importance=1.0),), "latency_cap": 1}, "a time"),
    ],
)  # fmt: skip
def test_impossible_problems_are_refused_in_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        replace(A, **change)


def test_importances_are_normalised_with_a_note():
    assert normalised([2, 2]) == ([0.5, 0.5], "importances sum to 4: divided by their sum")
    assert normalised([0.25, 0.75]) == ([0.25, 0.75], "")
    thirds, note = normalised([0.3333333] * 3)
    assert (sum(thirds), note) == (1.0, "")
    bad = {
        "branch '1': importance is -0.5, it must": ([1.5, -0.5], None),
        "branch 'left': importance is nan": ([math.nan, 1], ["left", "right"]),
        "all importances are 0": ([0, 0], None),
    }
    for message, (importances, names) in bad.items():
        with pytest.raises(ValueError, match=message):
            normalised(importances, names)


def test_a_number_is_missing_where_there_are_fewer_than_branches():
    curves = {"accuracy": ready.accuracy_a(), "size": ready.size_a()}
    with pytest.raises(ValueError, match="there are 2 importances and 3 caps"):
        Problem.of([0.5, 0.5], [400.0] * 3, **curves)
    with pytest.raises(ValueError, match="there are 2 importances and 1 time_scales"):
        Problem.of([0.5, 0.5], [400.0] * 2, **curves, time_scales=[1.0])


def test_caps_that_are_alike_are_raised_by_one_figure():
    equal = replace(A.with_caps(np.full(12, 200.0)), floor=70.0)
    ways = {r.way: r.text for r in allocate(equal, points=2).relaxations}
    assert re.search(r"every branch's cap by [\d.]+ % \(each branch's by [\d.]+ MB\)", ways["branch caps"])
    both = next(r.text for r in allocate(replace(A, floor=80.0)).relaxations if r.way == "branch caps")
    assert re.search(r"each branch's by [\d.]+ to [\d.]+ MB", both)


def test_a_conflict_names_the_branch_and_its_cap():
    found = allocate(replace(A, floor=84.0), points=2)
    assert f"cap {ready.CAPS_A[3]:g} MB of branch '3'" in found.conflict


@pytest.mark.parametrize("options", [{"points": 1}, {"latencies": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        allocate(A, **options)
