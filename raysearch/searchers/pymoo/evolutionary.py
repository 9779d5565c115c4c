"""Pymoo's multi-objective algorithms, steady state: each trial that ends takes part at once, so nobody waits.

References:
    nsga3: Deb, K., & Jain, H. (2014). An evolutionary many-objective optimization algorithm using
        reference-point-based nondominated sorting approach.
    ctaea: Li, K., Chen, R., Fu, G., & Yao, X. (2019). Two-archive evolutionary algorithm for constrained
        multiobjective optimization.
    moead: Zhang, Q., & Li, H. (2007). MOEA/D: a multiobjective evolutionary algorithm based on decomposition.
    smsemoa: Beume, N., Naujoks, B., & Emmerich, M. (2007). SMS-EMOA: multiobjective selection based on
        dominated hypervolume.
    agemoea, agemoea2: Panichella, A. (2019, 2022). Adaptive evolution based on the front's geometry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Identity, Outcome
from raysearch.searchers.encoding import Encoding, Parameter, Vector
from raysearch.searchers.libraries.replayed import Replayed
from raysearch.searchers.novelty import Novelty
from raysearch.searchers.nsga2 import survival_order
from raysearch.searchers.pymoo import algorithms as pymoo_algorithms
from raysearch.searchers.trials import FINISHED, Member, Trials
from raysearch.searchers.variation import Variation

_MATINGS = 50  # children bred for one suggestion before it falls back to a random draw


class Evolutionary(Replayed):
    """Breeds new configs by an algorithm of pymoo, with the crossover and mutation of ``variation.py``.

    The first ``population`` suggestions are the initial configs and random draws. Trials that were stopped
    early breed only while fewer than ``population`` have finished, behind those that have; trials that
    failed, or finished without an objective, never do.

    Args:
        parameters: the space.
        goals: two objectives or more; constraints as one violation, which "moead" does not take.
        algorithm: "nsga3", "ctaea", "moead", "smsemoa", "agemoea" or "agemoea2".
        population: how many breed, >= 4; with reference directions at most so many, spread evenly.
        seed: of its generator; the same seed and the same calls give the same suggestions.
        initial: configs to suggest first, in order.
        identity: tells which configs are the same variant and which of their parameters matter; none is
            suggested twice, and only parameters that matter are mutated.

    Raises:
        ImportError: "agemoea" or "agemoea2" without numba.
        ValueError: an unknown algorithm, one that does not fit the goals, a population too small, an empty
            space, or an initial config that is not legal.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        *,
        algorithm: str = "nsga3",
        population: int = 20,
        seed: int = 0,
        initial: Sequence[Config] = (),
        identity: Identity | None = None,
    ) -> None:
        pymoo_algorithms.check(algorithm, goals, population)
        super().__init__(
            partial(
                _SteadyState, tuple(parameters), goals, algorithm, population, seed, tuple(initial), identity
            )
        )


class _SteadyState:
    """One child at a time from pymoo's mating, one trial at a time into pymoo's survival."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        algorithm: str,
        population: int,
        seed: int,
        initial: Sequence[Config],
        identity: Identity | None,
    ) -> None:
        self._encoding = Encoding(parameters)
        self._variation = Variation(self._encoding)
        self._novelty = Novelty(self._encoding, identity, initial)
        self._trials = Trials(goals)
        self._algorithm = pymoo_algorithms.make(
            algorithm, goals, population, self._variation, self._novelty.active
        )
        self._size: int = self._algorithm.pop_size
        self._seed, self._ended = seed, 0
        self._first: list[Member] = []  # until enough have finished to make pymoo's population
        self._niche: dict[str, Any] = {}  # MOEA/D: the subproblem that a trial was bred for
        self._recalled: list[int] | None = None  # the same of the next trial, whose config is given
        self._latest: list[int] | None = None

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, or one that was not suggested before; None when the space is exhausted."""
        self._latest = None
        if given is not None and self._recalled is not None:
            self._niche[trial] = np.array(self._recalled)
            self._latest, self._recalled = self._recalled, None
        return self._trials.ask(trial, given, self._novelty, lambda: self._proposal(trial))

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric."""
        self._trials.tell(trial, step, values)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Let the trial compete for a place."""
        member = self._trials.end(trial, outcome)
        niche = self._niche.pop(trial, None)
        if member is None:
            return
        self._ended += 1
        rng = self._generator(1)
        if not self._algorithm.is_initialized:
            self._gather(member)
        elif member.level == FINISHED:
            if hasattr(self._algorithm, "indices"):
                self._algorithm.indices = rng.integers(self._size, size=1) if niche is None else niche
            self._algorithm.tell(infills=pymoo_algorithms.individuals([member]))

    def worked_out(self) -> dict[str, Any] | None:
        """The subproblem that the last trial was bred for, where the algorithm has them."""
        return None if self._latest is None else {"niche": self._latest}

    def recall(self, worked: Mapping[str, Any]) -> None:
        """Take over the subproblem of the trial that is given next.

        Raises:
            ValueError, KeyError, TypeError: there is no such subproblem.
        """
        niche = [int(index) for index in worked["niche"]]
        if len(niche) != 1 or not 0 <= niche[0] < self._size:
            raise ValueError(f"no subproblem {niche}: there are {self._size}")
        self._recalled = niche

    def _gather(self, member: Member) -> None:
        """Keep the best until ``population`` of them have finished; they are pymoo's first population."""
        members = [*self._first, member]
        self._first = [members[i] for i in survival_order(members)][: self._size]
        if len(self._first) == self._size and all(m.level == FINISHED for m in self._first):
            self._algorithm.tell(infills=pymoo_algorithms.individuals(self._first))

    def _generator(self, purpose: int) -> np.random.Generator:
        """For one suggestion (0) or one end (1), pymoo's part in it included, whatever was drawn before."""
        self._algorithm.random_state = np.random.default_rng(
            [self._seed, self._trials.asked, self._ended, purpose]
        )
        return self._algorithm.random_state  # type: ignore[no-any-return]

    def _proposal(self, trial: str) -> tuple[Vector, Config] | None:
        rng = self._generator(0)
        found = self._novelty.initial(rng)
        if found is None and self._trials.asked >= self._size:
            found = self._novelty.first(self._children(rng))
            niche = getattr(self._algorithm, "indices", None)
            self._niche[trial] = niche
            self._latest = None if niche is None else np.asarray(niche).tolist()
        return found or self._novelty.random(rng)

    def _children(self, rng: np.random.Generator) -> Iterator[Vector]:
        """Up to ``_MATINGS`` children, bred one at a time as long as they are asked for."""
        for _ in range(_MATINGS):
            if self._algorithm.is_initialized:
                yield self._algorithm.ask()[0].X
            elif len(self._first) >= 2:
                yield self._early_child(rng)

    def _early_child(self, rng: np.random.Generator) -> Vector:
        """A child of two members that each won a tournament; the first members stand from best to worst."""
        winners = rng.integers(len(self._first), size=(2, 2)).min(axis=1)
        child = self._variation.crossed(np.array([self._first[i].vector for i in winners]), rng)
        return self._variation.mutated(child, self._novelty.active(child), rng)
