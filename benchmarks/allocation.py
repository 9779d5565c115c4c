"""Dividing a pruning budget: our allocation against optima found by other means and the study's methods.

Purpose: instance A of the study (twelve views, caps, a floor on the weighted accuracy), random instances of
its generator, infeasible ones, many branches, one ratio (instance B), and importance-inverse ratios.

Acceptance: instance A feasible at once at 76.48 %; at least 100 points in under 1 s; both ends within 1e-6 of
polynomial roots (accuracy), of SLSQP from many starts and from a dynamic programme (size); random instances
feasible exactly when the roots say so; NSGA-II with 100,000 evaluations dominates no point; a relaxation
repairs, and 99 % of it does not; the cost from 12 to 1,000 branches grows no faster than n log n; instance B
at least a grid of step .001 with fewer evaluations; no spiked reward below a grid of half the cost; 66.46 %
before scaling, 75 % met to .01, correlation -1.

Limit: the optimum; a gap of 0 cannot be improved. --seeds N takes 100 N random instances, 2 N of them by
NSGA-II, 20 N infeasible ones, 100 N rewards. --data FILE (CSV or Parquet with branch, ratio, accuracy,
size_mb, latency_ms) allocates over fitted curves instead, at equal importances and 95 % of the accuracy.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.allocation_ratio import one_ratio
from benchmarks.common import arguments, data_file, read_table, report
from benchmarks.published.allocation_methods import nsga2, nsga2_per_branch, penalised_ga, relaxation_ladder
from benchmarks.published.allocation_oracles import (
    accuracy,
    programme_smallest,
    size,
    slsqp_smallest,
    smallest_ratios,
    starts,
)
from raysearch.allocation import Problem, allocate, branches_of, importance_inverse
from raysearch.allocation import instances as given
from raysearch.allocation.relaxation import relaxed

NAME = "allocation"
SIZES = (12, 25, 50, 100, 250, 500, 1000)
DOMINATED = 1e-6  # by how much a rival must be better to count

Figures = dict[str, float]


def instance_a() -> Figures:
    """Accuracy, seconds and points of instance A; how far its ends are from optima found by other means."""
    problem = given.instance_a()
    allocate(problem)  # imports
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        found = allocate(problem)
        seconds.append(time.perf_counter() - start)
    weights, low = np.array(given.IMPORTANCES_A), smallest_ratios(np.array(given.CAPS_A))
    programmed, ratios = programme_smallest(weights, low, given.FLOOR_A)
    begin = [*starts(weights, low, np.random.default_rng(0), 24), np.where(ratios > 0.98, 1.0, ratios)]
    least, _ = slsqp_smallest(weights, low, given.FLOOR_A, begin)
    accuracies, sizes = found.front["accuracy"], found.front["size_mb"]
    return {
        "instance_a_feasible": float(found.feasible),
        "instance_a_weighted_accuracy": round(float(accuracies.iloc[0]), 4),
        "instance_a_seconds": round(float(np.median(seconds)), 3),
        "instance_a_points": float(len(found.front)),
        "instance_a_smallest_mb": round(float(sizes.iloc[-1]), 4),
        "instance_a_accuracy_above_roots": float(accuracies.iloc[0] - weights @ accuracy(low)),
        "instance_a_mb_above_slsqp": float(sizes.iloc[-1] - least),
        "instance_a_mb_above_programme": float(sizes.iloc[-1] - programmed),
        "instance_a_largest_gap": float(found.front["gap"].max()),
    }


def random_instances(count: int, by_nsga2: int) -> Figures:
    """Random instances against the roots, SLSQP and NSGA-II."""
    rng = np.random.default_rng(0)
    weights = np.array(given.IMPORTANCES_A)
    wrong = feasible = dominated = compared = 0
    worst, points_beaten, missed = 0.0, 0, []
    for _ in range(count):
        problem = given.random_instance(rng)
        low = smallest_ratios(problem.caps)
        possible = weights @ accuracy(low) >= problem.floor
        rival = possible and compared < by_nsga2
        found = allocate(problem, points=128 if rival else 2)
        wrong += found.feasible != possible
        feasible += found.feasible
        if found.feasible:
            least, _ = slsqp_smallest(weights, low, problem.floor, starts(weights, low, rng, 12))
            missed.append(float(found.front["size_mb"].iloc[-1]) - least)
            worst = max(worst, abs(float(found.front["accuracy"].iloc[0]) - float(weights @ accuracy(low))))
        if rival:
            compared += 1
            beaten = _dominated(found.front, problem, seed=compared)
            dominated += beaten > 0
            points_beaten += beaten
    return {
        "random_instances": float(count),
        "random_feasible": float(feasible),
        "random_wrongly_judged": float(wrong),
        "random_worst_accuracy_error": worst,
        "random_worst_mb_above_slsqp": max(missed),
        "random_best_mb_below_slsqp": -min(m for m in missed if math.isfinite(m)),
        "random_slsqp_found_nothing": float(sum(math.isinf(m) for m in missed)),
        "nsga2_instances": float(compared),
        "nsga2_instances_that_beat_a_point": float(dominated),
        "nsga2_points_beaten": float(points_beaten),
    }


def _dominated(front: pd.DataFrame, problem: Problem, seed: int) -> int:
    """How many points of a front NSGA-II dominates; its points are judged by the formulas typed anew."""
    points = nsga2(problem, evaluations=100_000, seed=seed).feasible
    if not len(points):
        return 0
    theirs = np.column_stack([accuracy(points) @ np.array(given.IMPORTANCES_A), size(points).sum(axis=1)])
    ours = front[["accuracy", "size_mb"]].to_numpy()
    as_good = (theirs[None, :, 0] >= ours[:, None, 0] - 1e-9) & (
        theirs[None, :, 1] <= ours[:, None, 1] + 1e-9
    )
    better = (theirs[None, :, 0] > ours[:, None, 0] + DOMINATED) | (
        theirs[None, :, 1] < ours[:, None, 1] - DOMINATED
    )
    return int((as_good & better).any(axis=1).sum())


def infeasible_instances(count: int) -> Figures:
    """Every relaxation of infeasible instances, judged by the polynomial's roots."""
    rng = np.random.default_rng(1)
    done = checked = failures = 0
    seconds = []
    while done < count:
        problem = given.random_instance(rng)
        if _reachable(problem):
            continue
        done += 1
        start = time.perf_counter()
        found = allocate(problem)
        seconds.append(time.perf_counter() - start)
        for way in found.relaxations:
            step = way.floor_drop if way.way == "floor" else way.caps_factor - 1
            checked += 1
            failures += not _reachable(way.problem) or _reachable(relaxed(problem, way.way, 0.99 * step))
    return {
        "infeasible_instances": float(done),
        "relaxations_checked": float(checked),
        "relaxations_wrong": float(failures),
        "infeasible_seconds": round(float(np.median(seconds)), 3),
    }


def _reachable(problem: Problem) -> bool:
    """Whether the floor can be kept, from the roots of the size polynomial; rounding of 1e-9 is let pass."""
    best = problem.importances @ accuracy(smallest_ratios(problem.caps))
    return bool(best >= problem.floor - 1e-9 * abs(problem.floor))


def scaling() -> Figures:
    """Seconds from 12 to 1,000 branches, and the slope of log seconds over log (n log n)."""
    rng, seconds = np.random.default_rng(2), []
    for n in SIZES:
        problem = Problem.of(
            rng.dirichlet(np.ones(n)).tolist(),
            (100 * rng.uniform(1, 5, n)).tolist(),
            accuracy=given.accuracy_a(),
            size=given.size_a(),
            time=given.time_a(),
        )
        problem = replace(problem, floor=0.85 * float(problem.weighted_accuracy(problem.low)))
        start = time.process_time()
        allocate(problem)
        seconds.append(time.process_time() - start)
    work = [n * math.log(n) for n in SIZES]
    slope = np.polyfit(np.log(work), np.log(seconds), 1)[0]
    each = {f"cpu_seconds@{n}": round(s, 3) for n, s in zip(SIZES, seconds, strict=True)}
    return {**each, "scaling_exponent_over_n_log_n": round(float(slope), 3)}


def inverse() -> Figures:
    """The importance-inverse rule on instance B's scores and instance A's curves, target 75 %."""
    found = importance_inverse(given.instance_b_views(), 75.0)
    weights = np.array(found.problem.importances)
    return {
        "inverse_before": round(float(found.before), 2),
        "inverse_after": round(float(weights @ accuracy(found.ratios)), 4),
        "inverse_correlation": round(found.correlation, 4),
        "inverse_scale": round(found.scale, 4),
        "inverse_mb": round(found.size_mb, 1),
        "inverse_optimum_mb": round(found.optimum_size_mb, 1),
    }


def study_methods() -> dict[str, Figures]:
    """The study's methods on instance A at the study's sizes, judged by our constraints."""
    problem = given.instance_a()
    methods = {
        "nsga2": lambda: nsga2(problem),
        "study_nsga2": lambda: nsga2_per_branch(problem),
        "study_ga": lambda: penalised_ga(problem),
        "study_ladder": lambda: relaxation_ladder(problem),
    }
    result = {}
    for name, method in methods.items():
        start = time.perf_counter()
        found = method()
        kept = found.feasible
        result[name] = {
            "feasible": float(len(kept)),
            "best_accuracy": round(float(problem.weighted_accuracy(kept).max()), 4)
            if len(kept)
            else math.nan,
            "smallest_mb": round(float(problem.total_size(kept).min()), 2) if len(kept) else math.nan,
            "evaluations": float(found.evaluations),
            "seconds": round(time.perf_counter() - start, 1),
        }
    return result


def from_sweep(path: Path) -> Figures:
    """The front over curves fitted to a sweep's table."""
    table = read_table(path, ("branch", "ratio", "accuracy", "size_mb"))
    problem = Problem(branches_of(table))
    floor = 0.95 * float(problem.weighted_accuracy(problem.unpruned))
    start = time.perf_counter()
    found = allocate(replace(problem, floor=floor))
    return {
        "sweep_seconds": round(time.perf_counter() - start, 3),
        "sweep_branches": float(len(problem.branches)),
        "sweep_unpruned_mb": round(float(problem.total_size(problem.unpruned)), 4),
        "sweep_smallest_mb": round(float(found.front["size_mb"].min()), 4),
        "sweep_accuracy_error": round(float(np.mean([b.accuracy.error for b in problem.branches])), 5),
        "sweep_largest_gap": float(found.front["gap"].max()),
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print the figures and, with --json, one object."""
    options = arguments(__doc__, seeds=10).parse_args(argv)
    peers: dict[str, Figures] = {}
    if options.data is not None and not options.data.is_dir():  # the folder of all tables holds none for this
        figures = from_sweep(data_file(options.data, ""))
    else:
        ratio, cma = one_ratio(100 * options.seeds)
        figures = {**instance_a(), **inverse(), **ratio, **scaling()}
        figures |= random_instances(100 * options.seeds, 2 * options.seeds)
        figures |= infeasible_instances(20 * options.seeds)
        peers = {"cma_es": cma, **study_methods()}
    for name, value in figures.items():
        print(f"{name:44}{value:>14.6g}")
    for peer, values in peers.items():
        print(peer + ": " + ", ".join(f"{key} {value:g}" for key, value in values.items()))
    if options.json:
        report(NAME, figures, peers)


if __name__ == "__main__":
    main()
