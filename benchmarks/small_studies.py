"""Early stopping in studies of the size that people run: 12 to 64 trials of 6 to 27 epochs.

Purpose: what a rule loses of the front that full training finds with the same trials, and what it saves.
Learning curves are cut to their first epochs; each seed draws its trials from each table, two asynchronous
workers take them in turn, and a trial counts only if it is complete, by its last epoch's error.

Acceptance: the default keeps .99 of the hypervolume in every cell ("worst_share") with .60 of the epochs at 6
and 9 and .30 at 27 ("epochs@6" ...), and a front .97 as large ("worst_front").

Limit: a share of 1 is full training. A rule that knew the end at the first comparison would train only the
front beyond it: 2.3 of 12 trials and 4.0 of 64, .46 and .38 of the epochs at 6, .28 and .17 at 27.

Table: lcbench (--data FILE.npz with error_NAME (n, epochs) and log10_params_NAME (n,)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.common import REFERENCE, Floats, arguments, data_file, read_curves, report
from raysearch.objectives import Goals
from raysearch.pareto import hypervolume, non_dominated
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.front_halving import FrontHalving
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.learning_curve import LearningCurveStopping
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, simulate
from raysearch.study import usual_grace

NAME = "small_studies"
OURS = "front_halving"
TRIALS, EPOCHS = (12, 24, 64), (6, 9, 27)
WORKERS = 2
GOALS = Goals.parse(["minimize error", "minimize params"])

Make = Callable[[int, int], Scheduler]  # from a trial's epochs and the first at which trials are compared
Cell = tuple[int, int]  # trials, epochs

RULES: dict[str, Make] = {
    OURS: lambda epochs, grace: FrontHalving(GOALS, max_step=epochs, grace=grace),
    "successive_halving": lambda epochs, grace: SuccessiveHalving(GOALS, max_step=epochs, grace=grace),
    "successive_halving (promote)": lambda epochs, grace: SuccessiveHalving(
        GOALS, max_step=epochs, grace=grace, form="promote"
    ),
    "learning_curve": lambda epochs, grace: LearningCurveStopping(GOALS, max_step=epochs, grace=grace),
    "learning_curve (promote)": lambda epochs, grace: LearningCurveStopping(
        GOALS, max_step=epochs, grace=grace, form="promote"
    ),
    "full_training": lambda epochs, grace: FullTraining(),
}


@dataclass(frozen=True)
class Kept:
    """What a rule keeps of full training with the same trials: shares of hypervolume, epochs and front."""

    hypervolume: float
    epochs: float
    front: float


def study(errors: Floats, params: Floats, make: Make) -> Kept:
    """One study of trials in their order; errors (n, epochs), params (n,)."""
    trials, epochs = errors.shape
    problem = Problem(
        lambda c, step: {"error": errors[c["row"], step - 1], "params": params[c["row"]]}, epochs
    )
    rows = FixedList([{"row": row} for row in range(trials)])
    rule = make(epochs, usual_grace(epochs))
    run = simulate(problem, rows, rule, workers=WORKERS, max_trials=trials)
    complete = [run.configs[entry.trial]["row"] for entry in run.reports if entry.step == epochs]
    costs = np.column_stack([errors[:, -1], params])
    return Kept(
        _volume(costs[complete], costs) / _volume(costs, costs),
        len(run.reports) / (trials * epochs),
        _front(costs[complete]) / _front(costs),
    )


def _volume(costs: Floats, among: Floats) -> float:
    """The hypervolume of some trials, normalised by the ranges of all."""
    spread = np.ptp(among, axis=0)
    scaled = (costs - among.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    return hypervolume(scaled, np.full(among.shape[1], REFERENCE))


def _front(costs: Floats) -> int:
    return int(non_dominated(costs, np.zeros(len(costs))).sum())


def samples(
    tables: Sequence[tuple[Floats, Floats]], cell: Cell, seeds: int
) -> Iterator[tuple[Floats, Floats]]:
    """Of each table and seed the cut curves of its trials, and their parameters."""
    trials, epochs = cell
    for (errors, params), seed in product(tables, range(seeds)):
        rows = np.random.default_rng(seed).permutation(len(errors))[:trials]
        yield errors[rows, :epochs], params[rows]


def measure(tables: Sequence[tuple[Floats, Floats]], make: Make, seeds: int) -> dict[Cell, Kept]:
    """A rule's means over tables and seeds in each cell."""
    found = {}
    for cell in product(TRIALS, EPOCHS):
        kept = [study(*each, make) for each in samples(tables, cell, seeds)]
        means = (np.mean([getattr(k, name) for k in kept]) for name in ("hypervolume", "epochs", "front"))
        found[cell] = Kept(*map(float, means))
    return found


def figures(cells: Mapping[Cell, Kept]) -> dict[str, float]:
    """The worst cell's share and front, and the mean share of epochs at each length."""
    epochs = {
        f"epochs@{length}": float(np.mean([kept.epochs for cell, kept in cells.items() if cell[1] == length]))
        for length in EPOCHS
    }
    found = {
        "worst_share": min(kept.hypervolume for kept in cells.values()),
        **epochs,
        "worst_front": min(kept.front for kept in cells.values()),
    }
    return {name: round(value, 4) for name, value in found.items()}


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and, with --json, the figures."""
    options = arguments(__doc__, seeds=10).parse_args(argv)
    tables = read_curves(data_file(options.data, "lcbench/lcbench_curves.npz"))
    found = {}
    print(f"{NAME}: share of hypervolume / of epochs / of the front's size, by trials x epochs")
    print(f"{'':30}" + "".join(f"{f'{t} x {e}':>16}" for t, e in product(TRIALS, EPOCHS)))
    for name, make in RULES.items():
        found[name] = measure(tables, make, options.seeds)
        cells = (f"{k.hypervolume:.3f}/{k.epochs:.2f}/{k.front:.2f}" for k in found[name].values())
        print(f"{name:30}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
    if options.json:
        peers = {name: figures(cells) for name, cells in found.items() if name != OURS}
        report(NAME, figures(found[OURS]), peers)


if __name__ == "__main__":
    main()
