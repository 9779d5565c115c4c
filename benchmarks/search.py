"""Search on a tabular architecture space: NSGA-II against random search at equal cost.

Purpose: how fast a searcher finds the front of accuracy and device latency over 15,625 architectures, six
categorical variables, one evaluation a trial. Costs are 100 - accuracy and the latency, clipped from below at
its 0.1 percentile (devices report a few near-zero glitches). A figure is the mean over pairs and seeds.

Acceptance: NSGA-II beats random search at 200 and 400 evaluations, one-sided p < 0.05 over 20 seeds or more.

Limit: a ratio of 1 is the front of the whole table; random search alone comes to .98 on the easiest pair.

Table: nas_bench_201 (--data FILE.parquet with op_01 ... op_23, accuracy and latency columns).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import Floats, Merit, arguments, by_budget, data_file, report, show
from raysearch.objectives import Goals
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.base import Searcher
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.random import RandomSearch
from raysearch.simulation import Problem, simulate
from raysearch.testing import better

NAME = "search"
BUDGETS = (25, 50, 100, 200, 400)
EDGES = ("op_01", "op_02", "op_12", "op_03", "op_13", "op_23")
PAIRS = (
    ("c100_test_mean_e200", "gold_6240"),
    ("c100_test_mean_e200", "1080ti_32"),
    ("c10_valid_e200", "raspi4"),
)
GOALS = Goals.parse(["minimize error", "minimize latency"])

METHODS: dict[str, Callable[[tuple[Parameter, ...], int], Searcher]] = {
    "random": lambda parameters, seed: RandomSearch(parameters, GOALS, seed=seed),
    "nsga2": lambda parameters, seed: NSGA2(parameters, GOALS, seed=seed),
}


def costs_of(table: pd.DataFrame, accuracy: str, latency: str) -> Floats:
    """100 - accuracy and the clipped latency, shape (n, 2)."""
    milliseconds = table[f"latency_ms/{latency}"].to_numpy(dtype=np.float64)
    error = 100 - table[accuracy].to_numpy(dtype=np.float64)
    return np.column_stack([error, milliseconds.clip(min=np.percentile(milliseconds, 0.1))])


def shares(table: pd.DataFrame, pair: tuple[str, str], method: str, seeds: int) -> Floats:
    """The hypervolume ratio, shape (seeds, budgets)."""
    costs = costs_of(table, *pair)
    row_of = {ops: row for row, ops in enumerate(table[list(EDGES)].itertuples(index=False, name=None))}
    parameters = tuple(
        Parameter((edge,), "categorical", choices=tuple(sorted(table[edge].unique()))) for edge in EDGES
    )
    problem = Problem(
        lambda c, step: dict(zip(GOALS.metrics, costs[row_of[tuple(c[e] for e in EDGES)]], strict=True)),
        last_step=1,
    )
    merit = Merit(costs)
    result = []
    for seed in range(seeds):
        run = simulate(problem, METHODS[method](parameters, seed), FullTraining(), max_trials=BUDGETS[-1])
        points = np.array([[entry.values[m] for m in GOALS.metrics] for entry in run.reports])
        result.append([merit(points[:budget]) for budget in BUDGETS])
    return np.array(result)


def measure(path: Path, pairs: list[tuple[str, str]], seeds: int) -> dict[str, dict[str, Floats]]:
    """The ratios by method and pair, shape (seeds, budgets), and under "mean" those averaged over pairs."""
    table = pd.read_parquet(path)
    result = {}
    for method in METHODS:
        by_pair = {f"{a} x {b}": shares(table, (a, b), method, seeds) for a, b in pairs}
        result[method] = {**by_pair, "mean": np.mean(list(by_pair.values()), axis=0)}
    return result


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures."""
    parser = arguments(__doc__, seeds=20)
    parser.add_argument("--accuracy", help="a column; with --latency, instead of the default pairs")
    parser.add_argument("--latency", help='a device, the part after "latency_ms/"')
    options = parser.parse_args(argv)
    if bool(options.accuracy) != bool(options.latency):
        parser.error("--accuracy and --latency go together")
    pairs = [(options.accuracy, options.latency)] if options.accuracy else list(PAIRS)
    found = measure(data_file(options.data, "nas_bench_201/nas_bench_201.parquet"), pairs, options.seeds)
    p_values: list[float] = []
    for pair in found["nsga2"]:
        rows = {method: found[method][pair] for method in METHODS}
        p_values = [
            better(rows["nsga2"][:, i].tolist(), rows["random"][:, i].tolist()) for i in range(len(BUDGETS))
        ]
        show(f"{NAME}, {pair}", rows, BUDGETS, {"p (nsga2 above random)": p_values})
    if options.json:
        p = {f"p@{budget}": value for budget, value in zip(BUDGETS, p_values, strict=True)}
        ours, control = found["nsga2"]["mean"], found["random"]["mean"]
        report(NAME, {**by_budget(ours, BUDGETS), **p}, {"random": by_budget(control, BUDGETS)})


if __name__ == "__main__":
    main()
