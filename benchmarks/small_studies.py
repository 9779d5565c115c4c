"""Early stopping in studies of the size that people run: 12 to 64 trials of 6 to 27 epochs.

Purpose: what a rule loses of the front that full training finds with the same trials, and what it saves.
Learning curves are cut to their first epochs; each seed draws its trials from each table, two asynchronous
workers take them in turn, and a trial counts only if it is complete, by its last epoch's error. The tables
are LCBench's, and the project's own recorded trials (benchmarks/recorded), whose curves are whole.

Acceptance: the default keeps .99 of the hypervolume in every cell ("worst_share") with .60 of the epochs at 6
and 9 and .30 at 27 ("epochs@6" ...), and a front .97 as large ("worst_front"). Figures of the recorded trials
have the study's name in front.

Limit: a share of 1 is full training. A rule that knew the end at the first comparison would train only the
front beyond it: 2.3 of 12 trials and 4.0 of 64, .46 and .38 of the epochs at 6, .28 and .17 at 27.

Table: lcbench (--data FILE.npz with error_NAME (n, epochs) and log10_params_NAME (n,)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import REFERENCE, Floats, arguments, data_file, read_curves, report
from benchmarks.recorded.problem import Recorded
from benchmarks.recorded.studies import EPOCHS as EPOCHS_OF
from benchmarks.recorded.studies import TARGET
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
RECORDED = ("digits", "cifar10")

Make = Callable[
    [Goals, int, int], Scheduler
]  # from a trial's epochs and the first at which they are compared
Cell = tuple[int, int]  # trials, epochs

RULES: dict[str, Make] = {
    OURS: lambda goals, epochs, grace: FrontHalving(goals, max_step=epochs, grace=grace),
    "successive_halving": lambda goals, epochs, grace: SuccessiveHalving(goals, max_step=epochs, grace=grace),
    "successive_halving (promote)": lambda goals, epochs, grace: SuccessiveHalving(
        goals, max_step=epochs, grace=grace, form="promote"
    ),
    "learning_curve": lambda goals, epochs, grace: LearningCurveStopping(goals, max_step=epochs, grace=grace),
    "learning_curve (promote)": lambda goals, epochs, grace: LearningCurveStopping(
        goals, max_step=epochs, grace=grace, form="promote"
    ),
    "full_training": lambda goals, epochs, grace: FullTraining(),
}


@dataclass(frozen=True)
class Table:
    """Learning curves: errors (n, epochs), and by name what is known before training, (n,) each."""

    errors: Floats
    static: Mapping[str, Floats]

    def cut(self, rows: NDArray[np.intp], epochs: int) -> Table:
        """Some of its trials, by their first epochs."""
        return Table(self.errors[rows, :epochs], {name: of[rows] for name, of in self.static.items()})


@dataclass(frozen=True)
class Kept:
    """What a rule keeps of full training with the same trials: shares of hypervolume, epochs and front."""

    hypervolume: float
    epochs: float
    front: float


def study(table: Table, make: Make) -> Kept:
    """One study of a table's trials in their order."""
    trials, epochs = table.errors.shape
    problem = Problem(
        lambda c, step: {
            "error": table.errors[c["row"], step - 1],
            **{name: of[c["row"]] for name, of in table.static.items()},
        },
        epochs,
    )
    rows = FixedList([{"row": row} for row in range(trials)])
    goals = Goals.parse(["minimize error", *(f"minimize {name}" for name in table.static)])
    rule = make(goals, epochs, usual_grace(epochs))
    run = simulate(problem, rows, rule, workers=WORKERS, max_trials=trials)
    complete = [run.configs[entry.trial]["row"] for entry in run.reports if entry.step == epochs]
    costs = np.column_stack([table.errors[:, -1], *table.static.values()])
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


def recorded(name: str) -> Table:
    """The recorded trials of one study."""
    found = Recorded(name)
    curves = found.trials[[f"accuracy@{epoch}" for epoch in range(1, EPOCHS_OF[name] + 1)]]
    sizes = found.trials["size_mb"].to_numpy(dtype=np.float64)
    static = {f"latency_ms/{TARGET}": found.latencies, "size_mb": sizes}
    return Table(1 - curves.to_numpy(dtype=np.float64), static)


def samples(tables: Sequence[Table], cell: Cell, seeds: int) -> Iterator[Table]:
    """Of each table and seed some trials with cut curves."""
    trials, epochs = cell
    for table, seed in product(tables, range(seeds)):
        yield table.cut(np.random.default_rng(seed).permutation(len(table.errors))[:trials], epochs)


def measure(tables: Sequence[Table], make: Make, seeds: int, lengths: Sequence[int]) -> dict[Cell, Kept]:
    """A rule's means over tables and seeds in each cell."""
    found = {}
    for cell in product(TRIALS, lengths):
        kept = [study(each, make) for each in samples(tables, cell, seeds)]
        means = (np.mean([getattr(k, name) for k in kept]) for name in ("hypervolume", "epochs", "front"))
        found[cell] = Kept(*map(float, means))
    return found


def figures(cells: Mapping[Cell, Kept]) -> dict[str, float]:
    """The worst cell's share and front, and the mean share of epochs at each length."""
    epochs = {
        f"epochs@{length}": float(np.mean([kept.epochs for cell, kept in cells.items() if cell[1] == length]))
        for length in sorted({cell[1] for cell in cells})
    }
    found = {
        "worst_share": min(kept.hypervolume for kept in cells.values()),
        **epochs,
        "worst_front": min(kept.front for kept in cells.values()),
    }
    return {name: round(value, 4) for name, value in found.items()}


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures."""
    options = arguments(__doc__, seeds=10).parse_args(argv)
    curves = read_curves(data_file(options.data, "lcbench/lcbench_curves.npz"))
    groups = {"": ([Table(errors, {"params": params}) for errors, params in curves], EPOCHS)}
    groups |= {f"{name}_": ([recorded(name)], (EPOCHS_OF[name],)) for name in RECORDED}
    every: dict[str, dict[str, float]] = {rule: {} for rule in RULES}
    for prefix, (tables, lengths) in groups.items():
        print(f"{NAME}, {prefix.rstrip('_') or 'lcbench'}: share of hypervolume / of epochs / of the front")
        print(f"{'':30}" + "".join(f"{f'{t} x {e}':>16}" for t, e in product(TRIALS, lengths)))
        for rule, make in RULES.items():
            found = measure(tables, make, options.seeds, lengths)
            cells = (f"{k.hypervolume:.3f}/{k.epochs:.2f}/{k.front:.2f}" for k in found.values())
            print(f"{rule:30}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
            every[rule] |= {prefix + name: value for name, value in figures(found).items()}
    if options.json:
        report(NAME, every[OURS], {rule: found for rule, found in every.items() if rule != OURS})


if __name__ == "__main__":
    main()
