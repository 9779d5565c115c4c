"""Searching against what an engineer does by hand in an afternoon, at equal processor time.

Purpose: whether the default search is what a good engineer would bet on. The recipe: the parent in int8, then
pruned uniformly, from coarse to fine, each fully trained, then other learning rates (benchmarks/recorded). Beside
it Optuna's NSGA-II and random draws, both fully trained. Two studies: digits and CIFAR-10 at half the side; accuracy
on the validation split, measured latency, size.

Figures: the hypervolume (in units of the parent) after the processor time of 10, 20 and 40 full trainings of the
parent in int8; "over_hand@N" is its ratio to the recipe's, "faster_than_hand" how many times faster than the
recipe's the fastest variant is that loses at most one point of the parent's accuracy, at 40.

On recorded trials (the default) two workers are simulated, each method with every seed. ``--train`` trains really,
in ``--runs``: ours and the recipe alone unless ``--peers`` is given.

Acceptance: over_hand above 1 at 10, 20 and 40, p < .01 over 20 seeds against every control; at 40 at least 1.1,
and faster_than_hand at least 1.25.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.common import Floats, arguments, report, show
from benchmarks.recorded.by_hand import recipe
from benchmarks.recorded.problem import Recorded
from benchmarks.recorded.studies import EPOCHS, OBJECTIVES, TARGET
from raysearch.objectives import Goals
from raysearch.schedulers import make_scheduler
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.screening import Screening
from raysearch.searchers.base import Searcher
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Simulation, simulate
from raysearch.study import usual_grace
from raysearch.testing import better

NAME = "by_hand"
BUDGETS = (10, 20, 40)
WORKERS = 2
POINT = 0.01
OURS, HAND = "raysearch", "by hand"
SCREEN = 4

Points = tuple[Floats, Floats]  # when trials finished, in full trainings; accuracy, latency and size (k, 3)


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


def simulated(recorded: Recorded, method: Method, seed: int, budget: float) -> Points:
    """The finished trials of a search on recorded trials."""
    problem = recorded.problem
    goals = Goals.parse(OBJECTIVES, last_step=problem.last_step)
    design = recorded.space.design(recorded.parent)
    searcher: Searcher
    if method.searcher == "by_hand":
        searcher = FixedList(list(recipe(recorded.space, recorded.parent)))
    else:
        searcher = recorded.searcher(method.searcher, goals, seed, design)
    scheduler: Scheduler = make_scheduler(
        method.scheduler, goals, max_step=recorded.epochs, grace=usual_grace(recorded.epochs)
    )
    if method.screen > 1:
        choose = getattr(searcher, "choose", None)
        scheduler = Screening(
            scheduler,
            goals,
            candidates=method.screen,
            exempt=lambda trial: int(trial) < len(design),
            choose=choose,
        )
    unit = training_cost(recorded)
    run = simulate(problem, searcher, scheduler, workers=WORKERS, max_cost=budget * unit, closing=True)
    return _finished(run, recorded, unit)


def training_cost(recorded: Recorded) -> float:
    """The seconds of one full training of the parent in int8."""
    first = next(recipe(recorded.space, recorded.parent))
    return sum(recorded.cost(first, step) for step in range(recorded.epochs + 2))


def _finished(run: Simulation, recorded: Recorded, unit: float) -> Points:
    done = [entry for entry in run.reports if entry.step == recorded.epochs + 1]
    rows = [[*_static(recorded, run.configs[e.trial]), e.values["accuracy"]] for e in done]
    points = np.array(rows, dtype=np.float64).reshape(-1, 3)[:, [2, 0, 1]]
    return np.array([entry.spent for entry in done]) / unit, points


def _static(recorded: Recorded, config: dict[str, Any]) -> tuple[float, float]:
    values = recorded.values(config, 0)
    return values[f"latency_ms/{TARGET}"], values["size_mb"]


def volumes(recorded: Recorded, found: Points) -> list[float]:
    """The hypervolume at each budget."""
    spent, points = found
    return [recorded.hypervolume(points[spent <= budget]) for budget in BUDGETS]


def fastest(recorded: Recorded, found: Points) -> float:
    """The lowest latency within one point of the parent's accuracy, inf where there is none."""
    spent, points = found
    near = points[(points[:, 0] >= recorded.parent_figures[0] - POINT) & (spent <= BUDGETS[-1])]
    return float(near[:, 1].min()) if len(near) else float("inf")


def measure(
    name: str, seeds: int, methods: dict[str, Method] = METHODS
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """By method the hypervolumes, shape (seeds, budgets), and the lowest latencies, shape (seeds,)."""
    recorded = Recorded(name)
    found = {
        label: [simulated(recorded, method, seed) for seed in range(seeds)]
        for label, method in methods.items()
    }
    return (
        {label: np.array([volumes(recorded, f) for f in runs]) for label, runs in found.items()},
        {label: np.array([fastest(recorded, f) for f in runs]) for label, runs in found.items()},
    )
