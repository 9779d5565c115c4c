"""NSGA-II, steady state: every trial that ends may replace one of the population at once, so nobody waits.

References:
    Deb, K., Pratap, A., Agarwal, S., & Meyarivan, T. (2002). A fast and elitist multiobjective genetic
        algorithm: NSGA-II.
    Durillo, J. J., Nebro, A. J., Luna, F., & Alba, E. (2009). On the effect of the steady-state selection
        scheme in multi-objective genetic algorithms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.objectives import Goals
from raysearch.pareto import ranks
from raysearch.searchers.base import Config, Identity, Outcome
from raysearch.searchers.encoding import Encoding, Parameter, Vector
from raysearch.searchers.novelty import Novelty
from raysearch.searchers.trials import Member, Trials
from raysearch.searchers.variation import Variation

_MATINGS = 50  # children bred for one suggestion before it falls back to a random draw


class NSGA2:
    """Breeds new configs from the best trials so far, by pymoo's operators on the unit cube.

    The first ``population`` suggestions are the initial configs and random draws. A trial counts with the
    latest value of each metric. One that was stopped counts behind all that finished, and behind those that
    were stopped at a later step: it fills a population still small and never displaces a finished one.
    One that failed, or finished without an objective, has no children.

    Args:
        parameters: the space.
        goals: objectives and constraints.
        seed: of its generator; the same seed and the same calls give the same suggestions.
        population: how many of the best breed; >= 2.
        initial: configs to suggest first, in order.
        identity: tells which configs are the same variant and which of their parameters matter; none is
            suggested twice, and only parameters that matter are mutated.

    Raises:
        ValueError: the space is empty, an initial config is not legal, or population < 2.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        *,
        seed: int = 0,
        population: int = 20,
        initial: Sequence[Config] = (),
        identity: Identity | None = None,
    ) -> None:
        if population < 2:
            raise UserError(f"population is {population}: breeding needs at least 2, such as 20")
        self._encoding = Encoding(parameters)
        self._variation = Variation(self._encoding)
        self._size = population
        self._novelty = Novelty(self._encoding, identity, initial)
        self._seed = seed
        self._trials = Trials(goals)
        self._population: list[Member] = []

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, or one that was not suggested before; None when the space is exhausted.

        Raises:
            ValueError: the trial was asked for already and has not ended, or the config given is not legal.
        """
        return self._trials.ask(trial, given, self._novelty, self._proposal)

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric; a trial never asked for is ignored."""
        self._trials.tell(trial, step, values)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Let the trial into the population if it is good enough; a trial never asked for is ignored."""
        member = self._trials.end(trial, outcome)
        if member is None:
            return
        self._population.append(member)
        self._population = [self._population[i] for i in survival_order(self._population)][: self._size]

    def state(self) -> dict[str, Any]:
        """The population, the running trials and what was suggested."""
        return {
            "trials": self._trials.state(),
            "population": [asdict(member) for member in self._population],
            "novelty": self._novelty.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._trials.load(state["trials"])
        self._population = [Member(**member) for member in state["population"]]
        self._novelty.load(**state["novelty"])

    def _proposal(self) -> tuple[Vector, Config] | None:
        rng = np.random.default_rng([self._seed, self._trials.asked])
        found = self._novelty.initial(rng)
        if found is None and self._trials.asked >= self._size and len(self._population) >= 2:
            found = self._novelty.first(self._children(rng))
        return found or self._novelty.random(rng)

    def _children(self, rng: np.random.Generator) -> Iterator[Vector]:
        """Up to ``_MATINGS`` children, bred one at a time as long as they are asked for."""
        for _ in range(_MATINGS):
            # Each parent is the better of two drawn at random; the population stands from best to worst.
            parents = rng.integers(len(self._population), size=(2, 2)).min(axis=1)
            child = self._variation.crossed(np.array([self._population[i].vector for i in parents]), rng)
            yield self._variation.mutated(child, self._novelty.active(child), rng)


def survival_order(members: Sequence[Member]) -> list[int]:
    """Indices from best to worst: by level, then rank, then crowding, then the younger."""
    levels = np.array([m.level for m in members])
    order: list[int] = []
    for level in sorted(set(levels.tolist()), reverse=True):
        same = np.flatnonzero(levels == level)
        costs = np.array([members[i].costs for i in same.tolist()])
        rank = ranks(costs, np.array([members[i].violation for i in same.tolist()]))
        crowding = np.empty(len(same))
        for front in range(int(rank.max()) + 1):
            crowding[rank == front] = _crowding(costs[rank == front])
        order += same[np.lexsort((-same, -crowding, rank))].tolist()
    return order


def _crowding(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The crowding distance of one front by pymoo, (k, m) -> (k,); unknown and infinite costs are large."""
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function

    distance: NDArray[np.float64] = get_crowding_function("cd").do(
        np.nan_to_num(costs, nan=1e30, posinf=1e30, neginf=-1e30)
    )
    return distance
