"""Early stopping on learning curves: successive halving against full training at equal cost.

Purpose: how much of the true front (validation error after the last epoch, log10 parameters) is found when
hopeless trials stop early. Four asynchronous workers take the configurations in the file's order (seed 0) or
in a shuffled one (the other seeds); a trial counts with its best error so far; a figure is the mean over all
tables, in the file's order ("hv@520") and over all seeds ("orders_hv@520").

Acceptance: successive halving beats full training at every budget, one-sided p < 0.05 over 20 seeds or more.

Limit: a ratio of 1 is the front of all 2,200 configurations, 114,400 epochs. Oracles that know each trial's
final error reach .75 / .87 / .95 after 520 / 1,040 / 2,080 epochs when they decide after the first epoch.

Table: lcbench (--data FILE.npz with error_NAME (n, epochs) and log10_params_NAME (n,)).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import Floats, Merit, arguments, by_budget, data_file, report, show
from raysearch.objectives import Goals
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, Simulation, simulate
from raysearch.testing import better

NAME = "early_stopping"
BUDGETS = (520, 1040, 2080)
WORKERS = 4
GOALS = Goals.parse(["minimize error", "minimize params"])

METHODS: dict[str, Callable[[int], Scheduler]] = {
    "full_training": lambda epochs: FullTraining(),
    "successive_halving": lambda epochs: SuccessiveHalving(GOALS, max_step=epochs),
}


def shares(errors: Floats, params: Floats, make: Callable[[int], Scheduler], seed: int) -> list[float]:
    """The hypervolume ratio at each budget; errors (n, epochs), params (n,)."""
    rows, epochs = errors.shape
    order = np.arange(rows) if seed == 0 else np.random.default_rng(seed).permutation(rows)
    problem = Problem(
        lambda c, step: {"error": errors[c["row"], step - 1], "params": params[c["row"]]}, epochs
    )
    run = simulate(
        problem,
        FixedList([{"row": row} for row in order.tolist()]),
        make(epochs),
        workers=WORKERS,
        max_cost=BUDGETS[-1],
    )
    merit = Merit(np.column_stack([errors[:, -1], params]))
    return [merit(found(run, budget)) for budget in BUDGETS]


def found(run: Simulation, budget: int) -> Floats:
    """The best costs so far of every trial, after a number of epochs, shape (k, 2)."""
    best: dict[str, tuple[float, float]] = {}
    for entry in run.reports[:budget]:
        error, params = entry.values["error"], entry.values["params"]
        best[entry.trial] = (min(error, best.get(entry.trial, (error,))[0]), params)
    return np.array(list(best.values()))


def measure(path: Path, seeds: int) -> dict[str, Floats]:
    """Of each method the mean over tables, shape (seeds, budgets)."""
    with np.load(path) as file:
        tables = [
            (file[key].astype(np.float64), file[key.replace("error_", "log10_params_")].astype(np.float64))
            for key in sorted(file)
            if key.startswith("error_")
        ]
    return {
        name: np.array(
            [np.mean([shares(*table, make, seed) for table in tables], axis=0) for seed in range(seeds)]
        )
        for name, make in METHODS.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and, with --json, the figures."""
    options = arguments(__doc__, seeds=20).parse_args(argv)
    rows = measure(data_file(options.data, "lcbench/lcbench_curves.npz"), options.seeds)
    ours, control = rows["successive_halving"], rows["full_training"]
    p_values = [better(ours[:, i].tolist(), control[:, i].tolist()) for i in range(len(BUDGETS))]
    show(f"{NAME}, file order", {name: ratios[:1] for name, ratios in rows.items()}, BUDGETS, {})
    show(f"{NAME}, all orders", rows, BUDGETS, {"p (halving above full training)": p_values})
    if options.json:
        p = {f"p@{budget}": value for budget, value in zip(BUDGETS, p_values, strict=True)}
        report(NAME, {**figures(ours), **p}, {"full_training": figures(control)})


def figures(ratios: Floats) -> dict[str, float]:
    """In the file's order as "hv@520", and the mean over all orders as "orders_hv@520"."""
    orders = {f"orders_{name}": value for name, value in by_budget(ratios, BUDGETS).items()}
    return {**by_budget(ratios[:1], BUDGETS), **orders}


if __name__ == "__main__":
    main()
