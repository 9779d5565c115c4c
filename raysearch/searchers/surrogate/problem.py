"""The problem that a sample of trials teaches: regressors in place of the real evaluation, solved by C-TAEA.

References:
    Li, K., Chen, R., Fu, G., & Yao, X. (2019). Two-archive evolutionary algorithm for constrained
        multiobjective optimization. (C-TAEA)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.objectives import Goals
from raysearch.searchers.encoding import Encoding, Vector
from raysearch.searchers.pymoo.algorithms import directions
from raysearch.searchers.surrogate.regressors import (
    Candidate,
    Criterion,
    Floats,
    Regressor,
    Selection,
    choose,
    fitted,
    held_out,
)

_SEEDS = 2**31

Key = tuple[str, Candidate]
"""A metric and the name of its regressor."""


class Inputs:
    """Points of the unit cube as inputs of a regressor, so that what has no effect makes no difference.

    A categorical coordinate becomes one column a choice, 1 where it is chosen; a number's column is its
    coordinate. What is inactive is 0 in every column.

    Args:
        encoding: the space.
        active: from a point, shape (n,), to which of its parameters matter, shape (n,); None: all do.
    """

    def __init__(
        self, encoding: Encoding, active: Callable[[Vector], NDArray[np.bool_]] | None = None
    ) -> None:
        self._choices = [len(p.choices) for p in encoding.parameters]
        self._active = active

    def __call__(self, points: Vector) -> Floats:
        """Points of shape (k, n) as inputs of shape (k, columns)."""
        active = np.ones(points.shape, dtype=bool)
        if self._active is not None:
            active = np.array([self._active(point) for point in points])
        columns = []
        for i, choices in enumerate(self._choices):
            column = points[:, i, None]
            if choices:
                column = np.minimum((column * choices).astype(np.intp), choices - 1) == np.arange(choices)
            columns.append(np.where(active[:, i, None], column, 0.0))
        return np.hstack(columns)


@dataclass(frozen=True)
class SurrogateProblem:
    """Costs and constraints as regressors predict them.

    Args:
        goals: objectives and constraints.
        inputs: from points to the regressors' inputs.
        models: the regressors in use.
        objectives: which of them predicts each objective.
        constraints: which of them predicts each constraint's metric.
        spans: the range of each objective in the sample, for costs on one scale.
    """

    goals: Goals
    inputs: Inputs
    models: Mapping[Key, Regressor]
    objectives: tuple[Key, ...]
    constraints: tuple[Key, ...]
    spans: tuple[float, ...]

    def __call__(self, points: Vector) -> tuple[Floats, Floats]:
        """Costs (k, m), in units of the spans, and misses (k, c), at most 0 where kept, of points (k, n)."""
        x = self.inputs(points)
        found = {key: np.asarray(model.predict(x), dtype=np.float64) for key, model in self.models.items()}
        costs, misses = np.empty((len(x), len(self.objectives))), np.empty((len(x), len(self.constraints)))
        for i, (objective, key) in enumerate(zip(self.goals.objectives, self.objectives, strict=True)):
            costs[:, i] = (-found[key] if objective.maximize else found[key]) / self.spans[i]
        limits = self.goals.limits(self.goals.last_step)
        for i, (constraint, key) in enumerate(zip(self.goals.constraints, self.constraints, strict=True)):
            miss = found[key] - limits[i] if constraint.upper else limits[i] - found[key]
            misses[:, i] = miss / (abs(limits[i]) or 1.0) if math.isfinite(limits[i]) else -1.0
        return costs, misses


def learn(
    goals: Goals,
    inputs: Inputs,
    points: Vector,
    values: Mapping[str, Floats],
    selection: Selection,
    rng: np.random.Generator,
) -> SurrogateProblem:
    """Choose and fit a regressor for each objective and each constraint.

    Args:
        goals: objectives and constraints.
        inputs: from points to the regressors' inputs.
        points: of the trials, shape (n, dimensions).
        values: of the trials, shape (n,) for each metric, NaN where not known; at least ``FEWEST`` are.
        selection: the candidates, and how to choose among them.
        rng: of folds, seeds and random picks.
    """
    x = inputs(points)
    by_objective: dict[str, Key] = {}
    by_constraint: dict[str, Key] = {}
    constrained = [c.metric for c in goals.constraints]
    models: dict[Key, Regressor] = {}
    for metric, y in values.items():
        known = np.isfinite(y)
        roles = [
            (by, keys)
            for by, keys, metrics in (
                (selection.objectives_by, by_objective, goals.metrics),
                (selection.constraints_by, by_constraint, constrained),
            )
            if metric in metrics
        ]
        names = _choices(selection, [by for by, _ in roles], x[known], y[known], rng)
        for (_, keys), name in zip(roles, names, strict=True):
            keys[metric] = (metric, name)
        for name in dict.fromkeys(names):
            models[metric, name] = fitted(name, x[known], y[known], int(rng.integers(_SEEDS)))
    return SurrogateProblem(
        goals,
        inputs,
        models,
        tuple(by_objective[m] for m in goals.metrics),
        tuple(by_constraint[m] for m in constrained),
        tuple(float(np.ptp(values[m][np.isfinite(values[m])])) or 1.0 for m in goals.metrics),
    )


def optimise(
    problem: SurrogateProblem, dimensions: int, population: int, generations: int, rng: np.random.Generator
) -> Vector:
    """The points on which C-TAEA ends, shape (k, dimensions), best first.

    Ordered by rank: the feasible non-dominated points first, infeasible ones last, by their violation. In
    random order inside a rank.
    """
    from pymoo.algorithms.moo.ctaea import CTAEA
    from pymoo.core.problem import Problem

    from raysearch.pareto import ranks

    # C-TAEA takes two costs or more: beside a single one stands another that is the same everywhere.
    m, c = max(2, len(problem.objectives)), len(problem.constraints)
    algorithm = CTAEA(ref_dirs=directions(m, population))
    algorithm.setup(
        Problem(n_var=dimensions, n_obj=m, n_ieq_constr=c, xl=0.0, xu=1.0),
        termination=("n_gen", generations),
        seed=int(rng.integers(_SEEDS)),
    )
    while algorithm.has_next():
        offspring = algorithm.ask()
        costs, misses = problem(offspring.get("X"))
        offspring.set("F", np.pad(costs, ((0, 0), (0, m - costs.shape[1]))), "G", misses)
        algorithm.tell(infills=offspring)
    last = algorithm.pop
    rank = ranks(last.get("F"), np.maximum(last.get("G").reshape(len(last), c), 0.0).sum(axis=1))
    order: Vector = last.get("X")[np.lexsort((rng.random(len(rank)), rank))]
    return order


def _choices(
    selection: Selection, ways: Sequence[Criterion], x: Floats, y: Floats, rng: np.random.Generator
) -> list[Candidate]:
    """The candidate that each way of choosing picks, from one cross-validation; a random pick needs none."""
    predictions = dict.fromkeys(selection.candidates, y)
    if set(ways) != {"random"}:
        predictions = held_out(selection.candidates, x, y, rng)
    return [choose(by, predictions, y, rng) for by in ways]
