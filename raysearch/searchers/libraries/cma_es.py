"""CMA-ES for numeric spaces, led along the front by a scalarisation whose weights change.

References:
    Hansen, N., & Ostermeier, A. (2001). Completely derandomized self-adaptation in evolution strategies.
    Knowles, J. (2006). ParEGO. (the augmented Chebyshev scalarisation, equation 2)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from raysearch.basics import extras
from raysearch.basics.failures import UserError
from raysearch.objectives import Goals
from raysearch.pareto import non_dominated
from raysearch.searchers.base import Config, Identity, Outcome
from raysearch.searchers.encoding import Encoding, Parameter, Vector
from raysearch.searchers.libraries.replayed import Replayed
from raysearch.searchers.novelty import Novelty
from raysearch.searchers.trials import FINISHED, Member, Trials

_DRAWS = 50  # from the distribution, for one suggestion, before it falls back to an even draw
_GENERATIONS = 5  # before the next weights, unless the distribution converged earlier
_AUGMENTATION = 0.05  # the share of the sum in the scalarisation
_FIRST_SPREAD, _LATER_SPREAD = 0.3, 0.15  # initial standard deviations, on the unit cube
_REMEMBERED = 2_000  # finished trials that a new start is chosen from, the latest


class CMAES(Replayed):
    """Draws configs from a normal distribution that adapts to the best trials.

    Trials are compared by whether they finished, then by their violation, then by the augmented Chebyshev
    scalarisation of their costs, each divided by its range over the front so far; only that order counts.
    After five generations the weights change, and the distribution starts anew around the best trial for
    them.

    Args:
        parameters: the space, numbers only; those on a grid are searched as if they were continuous.
        goals: one objective or more, and constraints.
        seed: of its generator; the same seed and the same calls give the same suggestions.
        initial: configs to suggest first, in order.
        identity: tells which configs are the same variant; none is suggested twice.

    Raises:
        ImportError: the package cma is not installed.
        ValueError: a parameter is categorical, the space is empty, or an initial config is not legal.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        *,
        seed: int = 0,
        initial: Sequence[Config] = (),
        identity: Identity | None = None,
    ) -> None:
        extras.load("cma", "cma")
        for parameter in parameters:
            if parameter.kind == "categorical":
                raise UserError(f"cma_es cannot search {parameter}, which is categorical: use nsga2")
        super().__init__(partial(_Adapting, tuple(parameters), goals, seed, tuple(initial), identity))


class _Adapting:
    """The distribution, the trials that wait to be its next generation, and all finished ones."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        seed: int,
        initial: Sequence[Config],
        identity: Identity | None,
    ) -> None:
        self._encoding = Encoding(parameters)
        self._novelty = Novelty(self._encoding, identity, initial)
        self._trials = Trials(goals)
        self._seed, self._ended = seed, 0
        self._rng = np.random.default_rng(seed)
        self._objectives = len(goals.objectives)
        self._generation: list[Member] = []
        self._finished: list[Member] = []
        self._begin()

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, or one that was not suggested before; None when the space is exhausted."""
        self._rng = np.random.default_rng([self._seed, self._trials.asked, 0])
        config = self._trials.ask(trial, given, self._novelty, self._proposal)
        if given is not None:
            drawn = self._drawn_as(given)
            self._trials.running[trial].vector = drawn or self._trials.running[trial].vector
        return config

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric."""
        self._trials.tell(trial, step, values)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Adapt the distribution when a generation is complete."""
        member = self._trials.end(trial, outcome)
        if member is None:
            return
        self._ended += 1
        self._rng = np.random.default_rng([self._seed, self._ended, 1])
        self._generation.append(member)
        if member.level == FINISHED:
            self._finished = [*self._finished, member][-_REMEMBERED:]
        if len(self._generation) == self._strategy.popsize:
            self._adapt()

    def _begin(self) -> None:
        """A new distribution for weights of its own, around the best trial for them if there is one."""
        import cma

        self._weights: Vector = self._rng.dirichlet(np.ones(self._objectives))
        start, spread = np.full(len(self._encoding), 0.5), _FIRST_SPREAD
        if self._finished and self._objectives > 1:
            start = np.array(self._finished[self._order(self._finished)[0]].vector)
            spread = _LATER_SPREAD
        elif self._finished:  # one objective: the distribution converged, so look elsewhere
            start = self._encoding.sample(self._rng)
        options = {
            "bounds": [0.0, 1.0],
            "randn": lambda *shape: self._rng.standard_normal(shape),
            "seed": np.nan,  # leaves numpy's global generator alone
            "verbose": -9,
        }
        self._strategy = cma.CMAEvolutionStrategy(self._padded(start), spread, options)

    def _proposal(self) -> tuple[Vector, Config] | None:
        found = self._novelty.initial(self._rng)
        if found is None:
            # The strategy is told of the very point that it drew, not of the middle of its cell.
            found = next(((x, c) for x in self._draws() if (c := self._novelty.take(x)) is not None), None)
        return found or self._novelty.random(self._rng)

    def _drawn_as(self, given: Config) -> list[float] | None:
        """The point that a config was drawn as, where it was this searcher's own: it draws the same again."""
        middle = np.array(self._encoding.encode(given, absent=np.full(len(self._encoding), 0.5)))
        same = (
            x
            for x in self._draws()
            if np.array_equal(self._encoding.encode(self._encoding.decode(x)), middle)
        )
        return next((x.tolist() for x in same), None)

    def _draws(self) -> Iterator[Vector]:
        for _ in range(_DRAWS):
            yield np.clip(self._strategy.ask(1)[0][: len(self._encoding)], 0.0, 1.0)

    def _adapt(self) -> None:
        """Tell the strategy its generation, best first; move to other weights where it is time."""
        points = [self._padded(np.array(self._generation[i].vector)) for i in self._order(self._generation)]
        self._strategy.ask(1)  # it refuses a generation of which it drew no point, as where all were given
        self._strategy.tell(points, list(range(len(points))))
        self._generation = []
        due = self._objectives > 1 and self._strategy.countiter >= _GENERATIONS
        if self._finished and (due or self._strategy.stop()):
            self._begin()

    def _padded(self, point: Vector) -> Vector:
        """The package takes no single dimension: a second one, that nothing reads, stands beside it."""
        return np.append(point, 0.5) if len(point) == 1 else point

    def _order(self, members: Sequence[Member]) -> list[int]:
        """Indices from best to worst for the weights of now."""
        costs = self._scalar(np.array([m.costs for m in members]))
        violations = np.array([m.violation for m in members])
        levels = np.array([m.level for m in members])
        order: list[int] = np.lexsort((costs, violations, -levels)).tolist()
        return order

    def _scalar(self, costs: Vector) -> Vector:
        """The augmented Chebyshev scalarisation, (k, m) -> (k,); what is not finite comes last."""
        seen = np.array([m.costs for m in self._finished]) if self._finished else costs
        front = seen[non_dominated(seen, np.zeros(len(seen))) & np.isfinite(seen).all(axis=1)]
        low, high = (front.min(axis=0), front.max(axis=0)) if len(front) else (0.0, 1.0)
        weighted = self._weights * (costs - low) / np.where(high > low, high - low, 1.0)
        scalar = weighted.max(axis=1) + _AUGMENTATION * weighted.sum(axis=1)
        return np.where(np.isfinite(scalar), scalar, np.inf)
