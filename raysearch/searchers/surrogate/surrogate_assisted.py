"""Surrogate-assisted constrained search: learn every objective and constraint, optimise what was learnt.

Each metric of an objective or constraint has a regressor of its own, chosen among candidates by
cross-validation. C-TAEA optimises the surrogate problem; a few of its best points are evaluated for real and
added to the sample. The published method is sequential; here a suggestion waits for nobody.

References:
    Ferreira, T. A. E., et al. Surrogate-based constrained multi-objective optimisation for the compression of
        CNNs. (the method)
    Li, K., Chen, R., Fu, G., & Yao, X. (2019). Two-archive evolutionary algorithm for constrained
        multiobjective optimization. (C-TAEA)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from raysearch.basics.failures import UserError
from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Identity, Outcome
from raysearch.searchers.encoding import Encoding, Parameter, Vector
from raysearch.searchers.novelty import Novelty
from raysearch.searchers.surrogate.problem import Inputs, learn, optimise
from raysearch.searchers.surrogate.regressors import CANDIDATES, FEWEST, Candidate, Criterion, Selection
from raysearch.searchers.trials import Running, Trials

_LATEST = 1000  # trials that surrogates are fit on
_LARGEST = 1e30  # a larger figure counts as not known: boosting computes in single precision


class SurrogateAssisted:
    """Suggests non-dominated points of a surrogate problem that is learnt again as results come in.

    The first ``initial_designs`` suggestions are the initial configs and random draws. Then the surrogates
    are fit and optimised whenever ``infills`` points of the last optimum were suggested and a new result is
    in; until it is, further points of that optimum follow, then random ones: nobody waits, and what is
    pending is not suggested again.

    A metric is learnt, at its latest value, from every trial that reported it and neither failed nor finished
    without an objective. A trial that was stopped early thus counts with what it had reached.

    Args:
        parameters: the space.
        goals: objectives and constraints; a limit relative to the parent counts once the parent's figure is
            known.
        seed: of its generator; the same seed and the same calls give the same suggestions.
        initial: configs to suggest first, in order.
        identity: tells which configs are the same variant and which of their parameters matter.
        initial_designs: suggestions before the surrogates are used; >= 10.
        infills: points drawn from one optimum; >= 1.
        objectives_by: how an objective's regressor is chosen: "mse", "mape", "spearman" or "random".
        constraints_by: the same for constraints.
        population: C-TAEA's; >= 4.
        generations: C-TAEA's; >= 1.
        candidates: regressors to choose among: "knn", "forest", "xgboost", "lightgbm".

    Raises:
        ValueError: the space is empty, an initial config is not legal, or an option is out of its range.
        ImportError: a candidate's package is not installed.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        *,
        seed: int = 0,
        initial: Sequence[Config] = (),
        identity: Identity | None = None,
        initial_designs: int = 50,
        infills: int = 2,
        objectives_by: Criterion = "random",
        constraints_by: Criterion = "mape",
        population: int = 50,
        generations: int = 1000,
        candidates: Sequence[Candidate] = CANDIDATES,
    ) -> None:
        least = {"initial_designs": (initial_designs, FEWEST), "infills": (infills, 1)}
        least |= {"population": (population, 4), "generations": (generations, 1)}
        for name, (value, lowest) in least.items():
            if value < lowest:
                raise UserError(f"{name} is {value}: it must be at least {lowest}")
        self._selection = Selection(candidates, objectives_by, constraints_by)
        self._encoding = Encoding(parameters)
        self._goals = goals
        self._metrics = tuple(dict.fromkeys((*goals.metrics, *(c.metric for c in goals.constraints))))
        self._novelty = Novelty(self._encoding, identity, initial)
        self._inputs = Inputs(self._encoding, self._novelty.active if identity else None)
        self._seed = seed
        self._initial_designs, self._infills = initial_designs, infills
        self._population, self._generations = population, generations
        self._trials = Trials(goals)
        self._sample: list[Running] = []
        self._optimum: list[list[float]] = []
        self._drawn = 0  # suggestions from this optimum
        self._news = False  # whether a result came in since it was found
        self._worked: dict[str, Any] | None = None

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, or one that was not suggested before; None when the space is exhausted.

        Raises:
            ValueError: the trial was asked for already and has not ended, or the config given is not legal.
        """
        return self._trials.ask(trial, given, self._novelty, self._proposal)

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric; a trial never asked for is ignored."""
        self._trials.tell(trial, step, {m: float(values[m]) for m in self._metrics if m in values})

    def end(self, trial: str, outcome: Outcome) -> None:
        """Add what the trial reported to the sample unless it failed; one never asked for is ignored."""
        running = self._trials.running.get(trial)
        if running is not None and self._trials.end(trial, outcome) is not None:
            self._sample = [*self._sample, running][-_LATEST:]
            self._news = True

    def state(self) -> dict[str, Any]:
        """The sample, the running trials, and the optimum not yet suggested."""
        return {
            "trials": self._trials.state(),
            "sample": [asdict(trial) for trial in self._sample],
            "optimum": self._optimum,
            "drawn": self._drawn,
            "news": self._news,
            "novelty": self._novelty.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._drawn, self._news = state["drawn"], state["news"]
        self._trials.load(state["trials"])
        self._sample = [Running(**{**trial, "values": dict(trial["values"])}) for trial in state["sample"]]
        self._optimum = [list(vector) for vector in state["optimum"]]
        self._novelty.load(**state["novelty"])

    def worked_out(self) -> dict[str, Any] | None:
        """How much of the optimum is left, and the optimum where it was found anew."""
        worked, self._worked = self._worked, None
        return worked

    def recall(self, worked: Mapping[str, Any]) -> None:
        """Take over an optimum.

        Raises:
            ValueError, KeyError, TypeError: it is none of this space.
        """
        drawn, left = int(worked["drawn"]), int(worked["left"])
        if "optimum" in worked:
            optimum = np.array(worked["optimum"], dtype=np.float64).reshape(-1, len(self._encoding))
            if len(optimum) != left or not np.isfinite(optimum).all():
                raise ValueError(f"an optimum of {len(optimum)} points, not {left}")
            self._optimum, self._news = optimum.tolist(), False
        self._optimum = self._optimum[max(0, len(self._optimum) - left) :]
        self._drawn = drawn

    def _proposal(self) -> tuple[Vector, Config] | None:
        rng = np.random.default_rng([self._seed, self._trials.asked])
        found = self._novelty.initial(rng)
        if found is None and self._trials.asked >= self._initial_designs:
            found = self._infill(rng)
        return found or self._novelty.random(rng)

    def _infill(self, rng: np.random.Generator) -> tuple[Vector, Config] | None:
        """A new point of the optimum, which is found again when that is due; None if there is none."""
        renew = self._news and (self._drawn >= self._infills or not self._optimum)
        if renew:
            self._optimum = self._optimised(rng).tolist()
            self._drawn, self._news = 0, False
        found = self._novelty.first(self._points())
        self._drawn += found is not None
        new = {"optimum": [list(vector) for vector in self._optimum]} if renew else {}
        self._worked = {"drawn": self._drawn, "left": len(self._optimum), **new}
        return found

    def _points(self) -> Iterator[Vector]:
        """The points of the optimum, each removed as it is taken."""
        while self._optimum:
            yield np.array(self._optimum.pop(0))

    def _optimised(self, rng: np.random.Generator) -> Vector:
        """The optimum of the surrogate problem, shape (k, n), best first; (0, n) with too few values."""
        values = {
            metric: np.array([trial.values.get(metric, math.nan) for trial in self._sample])
            for metric in self._metrics
        }
        for y in values.values():
            y[~(np.abs(y) < _LARGEST)] = math.nan
        if any(np.isfinite(y).sum() < FEWEST for y in values.values()):
            return np.empty((0, len(self._encoding)))
        points = np.array([trial.vector for trial in self._sample])
        problem = learn(self._goals, self._inputs, points, values, self._selection, rng)
        return optimise(problem, len(self._encoding), self._population, self._generations, rng)
