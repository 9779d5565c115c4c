"""Searching against what an engineer does by hand in an afternoon, at equal processor time.

Purpose: whether the default search is what a good engineer would bet on. The recipe: the parent in int8, then
pruned uniformly, from coarse to fine, each fully trained, then other learning rates (benchmarks/recorded).
Beside it Optuna's NSGA-II and random draws, both fully trained, from the same fixed design as ours. Two
studies: digits, and CIFAR-10 at half the side; accuracy on the validation split, measured latency, size.

A figure is the hypervolume (in units of the parent, up to a tenth worse than it) that the processor time of
10, 20 and 40 full trainings of the parent in int8 buys, by two workers; "over_hand@N" is its ratio to that of
the recipe.
"faster_than_hand": how many times faster than the recipe's the fastest variant is that loses at most one
point of the parent's accuracy, at 40. Both are means over the studies; with its name in front, of one.

On recorded trials, the default, each budget is a search of its own, which knows how long it has. ``--train
N`` trains really, with N seeds: one search for 40, looked at on its way; ours and the recipe, and all with
``--peers``.

Acceptance: over_hand above 1 at 10, 20 and 40, on recorded trials p < .01 over 20 seeds against every
control; at 40 at least 1.1, and faster_than_hand at least 1.25.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import Floats, arguments, report, show
from benchmarks.recorded.by_hand import recipe
from benchmarks.recorded.problem import Recorded
from benchmarks.recorded.studies import EPOCHS, TARGET
from benchmarks.recorded.training import trained
from raysearch.schedulers import make_scheduler
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.screening import Screening
from raysearch.searchers.base import Choosing, Searcher
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Simulation, simulate
from raysearch.study import SCREEN, usual_grace
from raysearch.testing import better

NAME = "by_hand"
BUDGETS = (10, 20, 40)
WORKERS = 2
POINT = 0.01
OURS, HAND = "raysearch", "by hand"


@dataclass(frozen=True)
class Method:
    """A searcher and a scheduler; screen: candidates for each trial that trains."""

    searcher: str
    scheduler: str = "full_training"
    screen: int = 1


METHODS = {
    OURS: Method("model_based", "front_halving", SCREEN),
    HAND: Method("by_hand"),
    "optuna_nsga2": Method("optuna_nsga2"),
    "random": Method("random"),
}


def simulated(recorded: Recorded, method: Method, seed: int, budget: int) -> Floats:
    """Accuracy, latency and size of the finished trials of a search on recorded trials, shape (k, 3)."""
    problem, goals = recorded.problem, recorded.goals
    design = recorded.space.design(recorded.parent)
    searcher: Searcher
    if method.searcher == "by_hand":
        searcher = FixedList(list(recipe(recorded.space, recorded.parent)))
    else:
        searcher = recorded.searcher(method.searcher, goals, seed, design)
    grace = usual_grace(recorded.epochs)
    scheduler: Scheduler = make_scheduler(method.scheduler, goals, max_step=recorded.epochs, grace=grace)
    if method.screen > 1:
        scheduler = Screening(
            scheduler,
            goals,
            candidates=method.screen,
            exempt=lambda trial: int(trial) < len(design),
            choose=searcher.choose if isinstance(searcher, Choosing) else None,
        )
    cost = budget * training_cost(recorded)
    run = simulate(problem, searcher, scheduler, workers=WORKERS, max_cost=cost, closing=True)
    return _finished(run, recorded)


def training_cost(recorded: Recorded) -> float:
    """The seconds of one full training of the parent in int8."""
    first = next(recipe(recorded.space, recorded.parent))
    return sum(recorded.cost(first, step) for step in range(recorded.epochs + 2))


def _finished(run: Simulation, recorded: Recorded) -> Floats:
    rows = []
    for entry in run.reports:
        if entry.step == recorded.epochs + 1:
            static = recorded.values(run.configs[entry.trial], 0)
            rows.append([entry.values["accuracy"], static[f"latency_ms/{TARGET}"], static["size_mb"]])
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def fastest(points: Floats, accuracy: float) -> float:
    """The lowest latency within one point of the parent's accuracy, inf where there is none."""
    near = points[points[:, 0] >= accuracy - POINT]
    return float(near[:, 1].min()) if len(near) else float("inf")


@dataclass(frozen=True)
class Found:
    """Of one method: hypervolumes, shape (seeds, budgets), and lowest latencies, shape (seeds,)."""

    volumes: Floats
    latencies: Floats


def on_recorded(name: str, seeds: int) -> dict[str, Found]:
    """What every method finds on recorded trials."""
    recorded, found = Recorded(name), {}
    for label, method in METHODS.items():
        fronts = [[simulated(recorded, method, seed, b) for b in BUDGETS] for seed in range(seeds)]
        volumes = np.array([[recorded.hypervolume(points) for points in row] for row in fronts])
        accuracy = recorded.parent_figures[0]
        found[label] = Found(volumes, np.array([fastest(row[-1], accuracy) for row in fronts]))
    return found


def in_training(name: str, options: argparse.Namespace) -> dict[str, Found]:
    """What the methods find where they really train."""
    labels = list(METHODS) if options.peers else [HAND, OURS]
    labels.sort(key=lambda label: label != HAND)  # the recipe says how long the budgets are
    rows: dict[str, list[tuple[list[float], float]]] = {label: [] for label in labels}
    for seed in range(options.train):
        unit = None
        for label in labels:
            method = METHODS[label]
            run = trained(name, method.searcher, method.scheduler, method.screen, seed, unit, options)
            unit = run.unit
            fronts = [run.within(budget * unit / WORKERS) for budget in BUDGETS]
            volumes = [run.hypervolume(points) for points in fronts]
            rows[label].append((volumes, fastest(fronts[-1], run.parent[0])))
    return {
        label: Found(np.array([v for v, _ in found]), np.array([latency for _, latency in found]))
        for label, found in rows.items()
    }


def figures_of(found: dict[str, Found], label: str = OURS) -> dict[str, float]:
    """A method against the recipe on one study."""
    ours, hand = found[label], found[HAND]
    ratios = (ours.volumes / hand.volumes).mean(axis=0)
    figures = {f"over_hand@{b}": round(float(r), 4) for b, r in zip(BUDGETS, ratios, strict=True)}
    return {**figures, "faster_than_hand": round(float((hand.latencies / ours.latencies).mean()), 4)}


def main(argv: list[str] | None = None) -> None:
    """Measure, print a table for each study and, with --json, the figures."""
    parser = arguments(__doc__, seeds=20)
    parser.add_argument("--train", type=int, default=0, metavar="N", help="train really, with N seeds")
    parser.add_argument("--peers", action="store_true", help="train Optuna's NSGA-II and random draws too")
    parser.add_argument("--runs", type=Path, default=Path("runs/by_hand"), help="where the runs lie")
    parser.add_argument("--study", choices=sorted(EPOCHS), help="one study alone")
    options = parser.parse_args(argv)
    names = [options.study] if options.study else list(EPOCHS)
    every = {}
    for name in names:
        found = every[name] = (
            in_training(name, options) if options.train else on_recorded(name, options.seeds)
        )
        p_values = {}
        if len(found[OURS].volumes) > 1:
            p_values = {
                f"p ({OURS} above {label})": [
                    better(found[OURS].volumes[:, b].tolist(), other.volumes[:, b].tolist())
                    for b in range(len(BUDGETS))
                ]
                for label, other in found.items()
                if label != OURS
            }
        show(f"{NAME}, {name}", {label: f.volumes for label, f in found.items()}, BUDGETS, p_values)
        print(f"{'':4}" + ", ".join(f"{key} {value}" for key, value in figures_of(found).items()))
    if options.json:
        report(
            NAME,
            _over_studies(every, OURS),
            {p: _over_studies(every, p) for p in every[names[0]] if p != OURS},
        )


def _over_studies(every: dict[str, dict[str, Found]], label: str) -> dict[str, float]:
    """A method's figures: means over the studies, then of each study."""
    single = {name: figures_of(found, label) for name, found in every.items()}
    keys = next(iter(single.values()))
    whole = {key: round(float(np.mean([of[key] for of in single.values()])), 4) for key in keys}
    return whole | {f"{name}_{key}": value for name, of in single.items() for key, value in of.items()}


if __name__ == "__main__":
    main()
