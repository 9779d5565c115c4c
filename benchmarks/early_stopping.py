"""Early stopping on learning curves: every rule of ours, oracles and a peer at equal cost.

Purpose: how much of the true front (validation error after the last epoch, log10 parameters) is found when
hopeless trials stop early. Four asynchronous workers take the configurations in the file's order (seed 0) or
in a shuffled one (the other seeds); a trial counts with its best error so far; a figure is the mean over all
tables, in the file's order ("hv@520") and over all seeds ("orders_hv@520").

Acceptance: the default reaches .57 / .76 / .85 after 520 / 1,040 / 2,080 epochs in the file's order, and
beats successive halving over all orders, one-sided p < 0.05.

Limit: a ratio of 1 is the front of all 2,200 configurations, 114,400 epochs. The oracles know each trial's
final error and keep what adds over .03 of hypervolume, after the first epoch or after the second.

Table: lcbench (--data FILE.npz with error_NAME (n, epochs) and log10_params_NAME (n,)). ``--peers`` adds
Syne Tune's MOASHA, in the file's order only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.common import Floats, Merit, arguments, by_budget, data_file, read_curves, report, show
from benchmarks.oracles import Oracle
from benchmarks.published.syne_tune_moasha import MOASHA
from raysearch.objectives import Goals
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.front_halving import FrontHalving
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.learning_curve import LearningCurveStopping
from raysearch.schedulers.median_stopping import MedianStopping
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, Simulation, simulate
from raysearch.testing import better

NAME = "early_stopping"
BUDGETS = (520, 1040, 2080)
WORKERS = 4
OURS = "front_halving"
GOALS = Goals.parse(["minimize error", "minimize params"])

# From the final costs of all configurations, which only an oracle reads, and the epochs.
Make = Callable[[Floats, int], Scheduler]

METHODS: dict[str, Make] = {
    OURS: lambda pool, epochs: FrontHalving(GOALS, max_step=epochs),
    "learning_curve": lambda pool, epochs: LearningCurveStopping(GOALS, max_step=epochs),
    "learning_curve (promote)": lambda pool, epochs: LearningCurveStopping(
        GOALS, max_step=epochs, form="promote"
    ),
    "successive_halving": lambda pool, epochs: SuccessiveHalving(GOALS, max_step=epochs),
    "successive_halving (hypervolume)": lambda pool, epochs: SuccessiveHalving(
        GOALS, max_step=epochs, order="hypervolume"
    ),
    "successive_halving (promote)": lambda pool, epochs: SuccessiveHalving(
        GOALS, max_step=epochs, form="promote"
    ),
    "median_stopping": lambda pool, epochs: MedianStopping(GOALS, max_step=epochs),
    "full_training": lambda pool, epochs: FullTraining(),
    "oracle after 1": lambda pool, epochs: Oracle(pool, 1),
    "oracle after 2": lambda pool, epochs: Oracle(pool, 2),
}
PEERS: dict[str, Make] = {
    "syne_tune_moasha": lambda pool, epochs: MOASHA(GOALS, max_step=epochs),
}


def shares(errors: Floats, params: Floats, make: Make, seed: int) -> list[float]:
    """The hypervolume ratio at each budget; errors (n, epochs), params (n,)."""
    rows, epochs = errors.shape
    order = np.arange(rows) if seed == 0 else np.random.default_rng(seed).permutation(rows)
    pool = np.column_stack([errors[:, -1], params])
    problem = Problem(
        lambda c, step: {"error": errors[c["row"], step - 1], "params": params[c["row"]], "row": c["row"]},
        epochs,
    )
    run = simulate(
        problem,
        FixedList([{"row": row} for row in order.tolist()]),
        make(pool, epochs),
        workers=WORKERS,
        max_cost=BUDGETS[-1],
    )
    merit = Merit(pool)
    return [merit(found(run, budget)) for budget in BUDGETS]


def found(run: Simulation, budget: int) -> Floats:
    """The best costs so far of every trial, after a number of epochs, shape (k, 2)."""
    best: dict[str, tuple[float, float]] = {}
    for entry in run.reports[:budget]:
        error, params = entry.values["error"], entry.values["params"]
        best[entry.trial] = (min(error, best.get(entry.trial, (error,))[0]), params)
    return np.array(list(best.values()))


def measure(path: Path, methods: Mapping[str, Make], seeds: int) -> dict[str, Floats]:
    """Of each method the mean over tables, shape (seeds, budgets)."""
    tables = read_curves(path)
    return {
        name: np.array(
            [np.mean([shares(*table, make, seed) for table in tables], axis=0) for seed in range(seeds)]
        )
        for name, make in methods.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and, with --json, the figures."""
    parser = arguments(__doc__, seeds=10)
    parser.add_argument("--peers", action="store_true", help="add Syne Tune's MOASHA")
    options = parser.parse_args(argv)
    path = data_file(options.data, "lcbench/lcbench_curves.npz")
    rows = measure(path, METHODS, options.seeds)
    ours, control = rows[OURS], rows["successive_halving"]
    p_values = [better(ours[:, i].tolist(), control[:, i].tolist()) for i in range(len(BUDGETS))]
    show(f"{NAME}, all orders", rows, BUDGETS, {"p (ours above successive halving)": p_values})
    if options.peers:
        rows |= measure(path, PEERS, 1)
    show(f"{NAME}, file order", {name: ratios[:1] for name, ratios in rows.items()}, BUDGETS, {})
    if options.json:
        p = {f"p@{budget}": value for budget, value in zip(BUDGETS, p_values, strict=True)}
        peers = {name: figures(ratios) for name, ratios in rows.items() if name != OURS}
        report(NAME, {**figures(ours), **p}, peers)


def figures(ratios: Floats) -> dict[str, float]:
    """In the file's order as "hv@520", and the mean over all orders as "orders_hv@520"."""
    orders = {f"orders_{name}": value for name, value in by_budget(ratios, BUDGETS).items()}
    return {**by_budget(ratios[:1], BUDGETS), **orders}


if __name__ == "__main__":
    main()
