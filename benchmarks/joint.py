"""Search and early stopping together, on an architecture space with epochs as cost.

Purpose: what a searcher and a scheduler bring alone and together: six categorical variables, 15,625
architectures, accuracy and device latency, four asynchronous workers, three pairs of accuracy and device. A
trial counts when it has finished its 200 epochs. Two problems are made of the table:

- "measured": what was really trained. A trial first trains 12 epochs under their own schedule, then, if it is
  not stopped, 200 from the start: 212 in all. Under full training it trains the 200 alone. CIFAR-100 has the
  validation accuracy of the first and the test accuracy of the second, as in the table.
- "curves": 27 reports, 200/27 epochs apart, on a line in log epochs through both measured errors, from 90 at
  epoch 1, with noise of .5 points (seeded by the architecture) that is gone at the end. Only the errors at 12
  and at 200 epochs are measured; this one is for rules that read curves.

A figure is the mean over pairs and seeds of the hypervolume ratio to the true front after 5,000, 10,000 and
20,000 epochs (25, 50 and 100 full trainings): "hv@5000" of "measured", "curves_hv@5000" of the other.

Acceptance: a study's default searcher with its default early stopping beats random search with full training,
and the same searcher with full training, at 20,000 epochs, one-sided p < 0.05 over 10 seeds or more.

Limit: a ratio of 1 is the front of the table, 3,125,000 epochs.

Table: nas_bench_201 (--data FILE.parquet with op_01 ... op_23, the accuracies named below, latency columns).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import Floats, Merit, arguments, by_budget, data_file, read_table, report, show
from benchmarks.decision_cost import default_of
from benchmarks.search import EDGES, costs_of
from raysearch.objectives import Goals
from raysearch.schedulers import make_scheduler
from raysearch.searchers import make_searcher
from raysearch.searchers.base import Config
from raysearch.searchers.encoding import Parameter
from raysearch.simulation import Problem, simulate
from raysearch.testing import better

NAME = "joint"
BUDGETS = (5_000, 10_000, 20_000)
WORKERS = 4
SHORT, FULL = 12, 200
STEPS = 27
# Accuracy after 12 epochs, after 200, and the device.
PAIRS = (
    ("c100_valid_e12", "c100_test_mean_e200", "gold_6240"),
    ("c100_valid_e12", "c100_test_mean_e200", "1080ti_32"),
    ("c10_valid_e12", "c10_valid_e200", "raspi4"),
)


class Pair:
    """One pair of accuracy and device: the costs of all architectures, and both problems."""

    def __init__(self, table: pd.DataFrame, short: str, full: str, device: str) -> None:
        self.costs = costs_of(table, full, device)
        self._early = 100 - table[short].to_numpy(dtype=np.float64)
        rows = table[list(EDGES)].itertuples(index=False, name=None)
        self._row = {operations: row for row, operations in enumerate(rows)}
        self.parameters = tuple(
            Parameter((edge,), "categorical", choices=tuple(sorted(table[edge].unique()))) for edge in EDGES
        )

    @cached_property
    def merit(self) -> Merit:
        """The hypervolume ratio to the true front."""
        return Merit(self.costs)

    def row(self, config: Config) -> int:
        """The architecture of a config."""
        return self._row[tuple(config[edge] for edge in EDGES)]

    def full(self) -> Problem:
        """The 200 epochs alone."""
        return Problem(lambda c, step: self._report(c, self.costs[self.row(c), 0]), 1, cost=lambda c, s: FULL)

    def measured(self) -> Problem:
        """The 12 epochs, then the 200."""

        def values(config: Config, step: int) -> dict[str, float]:
            row = self.row(config)
            return self._report(config, self._early[row] if step == 1 else self.costs[row, 0])

        return Problem(values, 2, cost=lambda c, step: SHORT if step == 1 else FULL)

    def curves(self) -> Problem:
        """27 reports of a made-up curve through both measured errors."""
        epochs = np.log(FULL * np.arange(1, STEPS + 1) / STEPS)

        def values(config: Config, step: int) -> dict[str, float]:
            row = self.row(config)
            known = (90.0, self._early[row], self.costs[row, 0])
            error = np.interp(epochs[step - 1], np.log([1, SHORT, FULL]), known)
            noise = 0.5 * np.random.default_rng((row, step)).normal() if step < STEPS else 0.0
            return self._report(config, error + noise)

        return Problem(values, STEPS, cost=lambda c, step: FULL / STEPS)

    def _report(self, config: Config, error: float) -> dict[str, float]:
        return {"error": float(error), "latency": float(self.costs[self.row(config), 1])}


def shares(pair: Pair, problem: Problem, method: tuple[str, str], seed: int) -> list[float]:
    """The hypervolume ratio of the finished trials at each budget."""
    goals = Goals.parse(["minimize error", "minimize latency"], last_step=problem.last_step)
    names = frozenset(EDGES)
    searcher = make_searcher(
        method[0],
        pair.parameters,
        goals,
        seed=seed,
        initial=(),
        identity=lambda config: (repr(config), names),
    )
    scheduler = make_scheduler(method[1], goals, max_step=problem.last_step)
    run = simulate(problem, searcher, scheduler, workers=WORKERS, max_cost=BUDGETS[-1])
    finished = [entry for entry in run.reports if entry.step == problem.last_step]
    rows = np.array([pair.row(run.configs[entry.trial]) for entry in finished], dtype=np.intp)
    spent = np.array([entry.spent for entry in finished])
    return [pair.merit(pair.costs[rows[spent <= budget]]) for budget in BUDGETS]


def methods() -> list[tuple[str, str]]:
    """Searcher and scheduler: the controls first, a study's defaults last."""
    searchers = list(dict.fromkeys(["random", "nsga2", default_of("searcher")]))
    schedulers = list(dict.fromkeys(["successive_halving", "learning_curve", default_of("scheduler")]))
    return [(searcher, "full_training") for searcher in searchers] + [
        (searcher, scheduler) for scheduler in schedulers for searcher in searchers
    ]


def measure(path: Path, seeds: int) -> dict[str, dict[str, Floats]]:
    """By problem and method the mean over pairs, shape (seeds, budgets)."""
    accuracies = {name for short, full, _ in PAIRS for name in (short, full)}
    table = read_table(path, {*EDGES, *accuracies, *(f"latency_ms/{device}" for *_, device in PAIRS)})
    pairs = [Pair(table, *pair) for pair in PAIRS]
    problems: dict[str, Callable[[Pair], Problem]] = {"measured": Pair.measured, "curves": Pair.curves}
    found: dict[str, dict[str, Floats]] = {}
    for name, problem in problems.items():
        found[name] = {}
        for method in methods():
            made = Pair.full if method[1] == "full_training" else problem
            ratios = [[shares(pair, made(pair), method, seed) for pair in pairs] for seed in range(seeds)]
            found[name][" + ".join(method)] = np.mean(ratios, axis=1)
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures of a study's default searcher and scheduler."""
    options = arguments(__doc__, seeds=10).parse_args(argv)
    found = measure(data_file(options.data, "nas_bench_201/nas_bench_201.parquet"), options.seeds)
    figures: dict[str, float] = {}
    peers: dict[str, dict[str, float]] = {}
    for problem, rows in found.items():
        prefix = "" if problem == "measured" else f"{problem}_"
        ours = " + ".join(default_of(kind) for kind in ("searcher", "scheduler"))
        p_values = {
            f"p ({ours} above {control})": [
                better(rows[ours][:, b].tolist(), rows[control][:, b].tolist()) for b in range(len(BUDGETS))
            ]
            for control in ("random + full_training", f"{default_of('searcher')} + full_training")
        }
        show(f"{NAME}, {problem}", rows, BUDGETS, p_values)
        figures |= {prefix + name: value for name, value in by_budget(rows[ours], BUDGETS).items()}
        for control, values in zip(("random", "full"), p_values.values(), strict=True):
            figures |= {f"{prefix}p_{control}@{b}": p for b, p in zip(BUDGETS, values, strict=True)}
        for method in rows:
            peers.setdefault(method, {}).update(
                {prefix + name: value for name, value in by_budget(rows[method], BUDGETS).items()}
            )
    if options.json:
        report(NAME, figures, peers)


if __name__ == "__main__":
    main()
