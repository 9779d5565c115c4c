from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from cpu_time import cpu_seconds

from benchmarks.published import allocation_oracles as oracles
from raysearch.allocation import Problem, allocate, parse
from raysearch.allocation import instances as ready
from raysearch.allocation.exact.ends import smallest

A = ready.instance_a()


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


@pytest.mark.parametrize("options", [{"points": 1}, {"latencies": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        allocate(A, **options)
