"""Search on a tabular architecture space: our default against the controls and its peers at equal cost.

Purpose: how fast a searcher finds the front of accuracy and device latency over 15,625 architectures, six
categorical variables, one evaluation a trial. Costs are 100 - accuracy and the latency, clipped from below at
its 0.1 percentile (devices report a few near-zero glitches). A figure is the mean over pairs and seeds.

Acceptance: at 100 and at 200 evaluations at most half the best peer's distance to 1; ahead of every peer at
25 and 50, one-sided p < 0.05; at most 20 ms a suggestion at 200 trials.

Limit: a ratio of 1 is the front of the whole table; random search alone comes to .98 on the easiest pair.

Table: nas_bench_201 (--data FILE.parquet with op_01 ... op_23, accuracy and latency columns). Random search
and NSGA-II are the controls; --peers adds Optuna's samplers and BoTorch (3 seeds, to 100 evaluations).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.common import Floats, Merit, arguments, data_file, read_table, report, show
from benchmarks.peers import PEERS
from raysearch.objectives import Goals
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.base import Config, Searcher
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.model_based import ModelBased
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.random import RandomSearch
from raysearch.simulation import Problem, simulate
from raysearch.testing import better

NAME = "search"
OURS = "model_based"
BUDGETS = (25, 50, 100, 200, 400)
EDGES = ("op_01", "op_02", "op_12", "op_03", "op_13", "op_23")
PAIRS = (
    ("c100_test_mean_e200", "gold_6240"),
    ("c100_test_mean_e200", "1080ti_32"),
    ("c10_valid_e200", "raspi4"),
)
GOALS = Goals.parse(["minimize error", "minimize latency"])
SLOW = {"botorch_qlognehvi": (3, 100)}
"""Seeds and evaluations of the peers that take seconds a suggestion."""

Make = Callable[[Sequence[Parameter], Goals, int], Searcher]

METHODS: dict[str, Make] = {
    OURS: lambda parameters, goals, seed: ModelBased(parameters, goals, seed=seed),
    "nsga2": lambda parameters, goals, seed: NSGA2(parameters, goals, seed=seed),
    "random": lambda parameters, goals, seed: RandomSearch(parameters, goals, seed=seed),
}


class Timed:
    """A searcher of which the time of each suggestion is kept."""

    def __init__(self, searcher: Searcher) -> None:
        self.tell, self.end = searcher.tell, searcher.end
        self.state, self.load = searcher.state, searcher.load
        self.seconds: list[float] = []
        self._searcher = searcher

    def ask(self, trial: str) -> Config | None:
        """The searcher's suggestion."""
        start = time.process_time()
        config = self._searcher.ask(trial)
        self.seconds.append(time.process_time() - start)
        return config


def costs_of(table: pd.DataFrame, accuracy: str, latency: str) -> Floats:
    """100 - accuracy and the clipped latency, shape (n, 2)."""
    milliseconds = table[f"latency_ms/{latency}"].to_numpy(dtype=np.float64)
    error = 100 - table[accuracy].to_numpy(dtype=np.float64)
    return np.column_stack([error, milliseconds.clip(min=np.percentile(milliseconds, 0.1))])


def shares(
    table: pd.DataFrame, pair: tuple[str, str], make: Make, seeds: int, evaluations: int
) -> tuple[Floats, float]:
    """The ratio, shape (seeds, budgets), NaN beyond ``evaluations``; milliseconds a suggestion near 200."""
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
    result, seconds = [], []
    for seed in range(seeds):
        searcher = Timed(make(parameters, GOALS, seed))
        run = simulate(problem, searcher, FullTraining(), max_trials=evaluations)
        points = np.array([[entry.values[m] for m in GOALS.metrics] for entry in run.reports])
        result.append([merit(points[:b]) if b <= evaluations else np.nan for b in BUDGETS])
        seconds += searcher.seconds[180:220]
    return np.array(result), 1000 * float(np.mean(seconds)) if seconds else float("nan")


def by_budget(ratios: Floats) -> dict[str, float]:
    """The mean over seeds at each budget that was reached, as {"hv@25": ...}."""
    means = zip(BUDGETS, ratios.mean(axis=0), strict=True)
    return {f"hv@{budget}": round(float(mean), 4) for budget, mean in means if not np.isnan(mean)}


def p_values(found: Mapping[str, Floats]) -> dict[str, float]:
    """At each budget the one-sided p-value against the best rival that came so far, as {"p@25": ...}."""
    result = {}
    for i, budget in enumerate(BUDGETS):
        rivals = [r[:, i] for name, r in found.items() if name != OURS and not np.isnan(r[:, i]).any()]
        best = max(rivals, key=lambda figures: float(figures.mean()))
        result[f"p@{budget}"] = better(found[OURS][:, i].tolist(), best.tolist())
    return result


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures."""
    parser = arguments(__doc__, seeds=10)
    parser.add_argument("--accuracy", help="a column; with --latency, instead of the default pairs")
    parser.add_argument("--latency", help='a device, the part after "latency_ms/"')
    parser.add_argument("--peers", action="store_true", help="add Optuna's samplers and BoTorch")
    options = parser.parse_args(argv)
    if bool(options.accuracy) != bool(options.latency):
        parser.error("--accuracy and --latency go together")
    pairs = [(options.accuracy, options.latency)] if options.accuracy else list(PAIRS)
    path = data_file(options.data, "nas_bench_201/nas_bench_201.parquet")
    columns = {*EDGES, *(a for a, _ in pairs), *(f"latency_ms/{device}" for _, device in pairs)}
    table, methods = read_table(path, columns), {**METHODS, **(PEERS if options.peers else {})}
    found: dict[str, dict[str, Floats]] = {name: {} for name in methods}
    milliseconds: list[float] = []
    for pair in pairs:
        label = " x ".join(pair)
        for name, make in methods.items():
            seeds, evaluations = SLOW.get(name, (options.seeds, BUDGETS[-1]))
            found[name][label], cost = shares(table, pair, make, seeds, evaluations)
            milliseconds += [cost] if name == OURS else []
        rows = {name: found[name][label] for name in methods}
        show(f"{NAME}, {label}", rows, BUDGETS, {"p (ours above the best)": list(p_values(rows).values())})
    mean = {name: np.mean(list(ratios.values()), axis=0) for name, ratios in found.items()}
    show(f"{NAME}, mean", mean, BUDGETS, {"p (ours above the best)": list(p_values(mean).values())})
    if options.json:
        each = {
            f"{key}/{label}": value
            for label, ratios in found[OURS].items()
            for key, value in by_budget(ratios).items()
        }
        ours = {**by_budget(mean[OURS]), **each, **p_values(mean)}
        if not np.isnan(milliseconds).any():
            ours["ms_per_suggestion@200"] = round(float(np.mean(milliseconds)), 2)
        report(NAME, ours, {name: by_budget(ratios) for name, ratios in mean.items() if name != OURS})


if __name__ == "__main__":
    main()
