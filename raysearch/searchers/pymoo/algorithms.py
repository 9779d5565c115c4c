"""Pymoo's algorithms, set up to breed and to take in one point of the unit cube at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.basics import extras
from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.objectives import Goals
from raysearch.searchers.encoding import Vector
from raysearch.searchers.trials import Member
from raysearch.searchers.variation import Variation

ALGORITHMS = ("nsga3", "ctaea", "moead", "smsemoa", "agemoea", "agemoea2")

_LARGEST = 1e30  # stands for infinity, which pymoo cannot normalise


def check(algorithm: str, goals: Goals, population: int) -> None:
    """Refuse what cannot work.

    Raises:
        ImportError: "agemoea" or "agemoea2" without numba.
        ValueError: an unknown algorithm, one that does not fit the goals, or a population too small.
    """
    if algorithm not in ALGORITHMS:
        raise UserError(f"algorithm {algorithm!r} is unknown; {did_you_mean(algorithm, ALGORITHMS)}")
    objectives = len(goals.objectives)
    if objectives < 2:
        raise UserError(f"{algorithm} is for two objectives or more, not {objectives}: use nsga2 or cma_es")
    if algorithm == "moead" and goals.constraints:
        raise UserError("moead cannot handle constraints: use ctaea or nsga3")
    if population < max(4, objectives):
        raise UserError(f"population is {population}: {algorithm} needs at least {max(4, objectives)}")
    if algorithm.startswith("agemoea"):
        extras.load("numba", "agemoea")


def make(
    algorithm: str,
    goals: Goals,
    population: int,
    variation: Variation,
    active: Callable[[Vector], NDArray[np.bool_]],
) -> Any:
    """A fresh algorithm of pymoo, whose ``ask()`` gives one child and whose ``tell(infills=...)`` takes one.

    It draws from its ``random_state``, which is the caller's to set.

    Args:
        algorithm: one of ``ALGORITHMS``.
        goals: how many objectives, and whether there are constraints.
        population: how many breed; with reference directions at most so many.
        variation: crossover and mutation.
        active: which parameters matter at a point.
    """
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination

    objectives = len(goals.objectives)
    crossover, mutation = _operators(variation, active)
    options = {"n_offsprings": 1, "crossover": crossover, "mutation": mutation}
    made = _MAKERS[algorithm](objectives, population, options)
    constraints = 0 if algorithm == "moead" else 1
    problem = Problem(n_var=len(variation), n_obj=objectives, n_ieq_constr=constraints, xl=0.0, xu=1.0)
    made.setup(problem, termination=NoTermination())
    return made


def individuals(members: Sequence[Member]) -> Any:
    """Finished trials as a population of pymoo."""
    from pymoo.core.population import Population

    return Population.new(
        X=np.array([m.vector for m in members]),
        F=np.clip([m.costs for m in members], -_LARGEST, _LARGEST),
        G=np.clip([[m.violation] for m in members], 0.0, _LARGEST),
    )


def directions(objectives: int, population: int) -> Vector:
    """Das and Dennis's reference directions, as many as fit into the population, shape (k, m), m >= 2."""
    from pymoo.util.ref_dirs import get_reference_directions

    partitions = 1
    while math.comb(partitions + objectives, objectives - 1) <= population:
        partitions += 1
    result: Vector = get_reference_directions("das-dennis", objectives, n_partitions=partitions)
    return result


def _nsga3(objectives: int, population: int, options: dict[str, Any]) -> Any:
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.algorithms.moo.sms import cv_and_dom_tournament
    from pymoo.operators.selection.tournament import TournamentSelection

    # Pymoo's own tournament for NSGA-III draws from a generator without a seed.
    selection = TournamentSelection(func_comp=cv_and_dom_tournament)
    return NSGA3(
        directions(objectives, population),
        population,
        selection=selection,
        eliminate_duplicates=False,
        **options,
    )


def _ctaea(objectives: int, population: int, options: dict[str, Any]) -> Any:
    from pymoo.algorithms.moo.ctaea import CTAEA, CADASurvival

    class SteadyArchives(CADASurvival):  # type: ignore[misc]
        """Pymoo's takes as many newcomers as there are members; here one comes at a time after the first."""

        def do(self, _: Any, pop: Any, da: Any, n_survive: int, random_state: Any, **kwargs: Any) -> Any:
            from pymoo.core.population import Population

            newcomers = pop[-1:] if len(da) else pop
            self.ideal_point: Vector = np.minimum(self.ideal_point, newcomers.get("F").min(axis=0))
            pop = self._updateCA(pop, n_survive, random_state=random_state)
            return pop, self._updateDA(pop, Population.merge(da, newcomers), n_survive)

    reference = directions(objectives, population)
    made = CTAEA(
        reference,
        survival=SteadyArchives(reference),
        eliminate_duplicates=False,
        **{k: v for k, v in options.items() if k != "n_offsprings"},
    )
    made.n_offsprings = 1
    return made


def _moead(objectives: int, population: int, options: dict[str, Any]) -> Any:
    from pymoo.algorithms.moo.moead import ParallelMOEAD

    reference = directions(objectives, population)
    return ParallelMOEAD(reference, n_neighbors=max(3, len(reference) // 5), **options)


def _smsemoa(objectives: int, population: int, options: dict[str, Any]) -> Any:
    from pymoo.algorithms.moo.sms import SMSEMOA

    return SMSEMOA(population, eliminate_duplicates=False, **options)


def _agemoea(objectives: int, population: int, options: dict[str, Any]) -> Any:
    from pymoo.algorithms.moo.age import AGEMOEA

    return AGEMOEA(population, eliminate_duplicates=False, **options)


def _agemoea2(objectives: int, population: int, options: dict[str, Any]) -> Any:
    from pymoo.algorithms.moo.age2 import AGEMOEA2

    return AGEMOEA2(population, eliminate_duplicates=False, **options)


_MAKERS = dict(zip(ALGORITHMS, (_nsga3, _ctaea, _moead, _smsemoa, _agemoea, _agemoea2), strict=True))


def _operators(variation: Variation, active: Callable[[Vector], NDArray[np.bool_]]) -> tuple[Any, Any]:
    """Our crossover and mutation as operators of pymoo."""
    from pymoo.core.crossover import Crossover
    from pymoo.core.mutation import Mutation

    class Cross(Crossover):  # type: ignore[misc]
        def _do(self, _: Any, X: Vector, *args: Any, random_state: Any, **kwargs: Any) -> Vector:
            return np.array([[variation.crossed(X[:, k], random_state) for k in range(X.shape[1])]])

    class Mutate(Mutation):  # type: ignore[misc]
        def _do(self, _: Any, X: Vector, *args: Any, random_state: Any, **kwargs: Any) -> Vector:
            return np.array([variation.mutated(x, active(x), random_state) for x in X])

    return Cross(n_parents=2, n_offsprings=1, prob=1.0), Mutate(prob=1.0)
