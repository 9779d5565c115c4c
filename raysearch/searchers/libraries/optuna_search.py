"""Optuna's samplers, through Ray's own OptunaSearch.

This is the one searcher that stands at Ray's edge, beside ``tune.py``: Ray is imported when it is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from raysearch.basics import extras
from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Identity, Outcome
from raysearch.searchers.encoding import Encoding, Parameter, Vector
from raysearch.searchers.libraries.replayed import Replayed
from raysearch.searchers.novelty import Novelty
from raysearch.searchers.recorded import Recorded
from raysearch.searchers.trials import FINISHED, Trials

SAMPLERS = {"tpe": "TPESampler", "nsga2": "NSGAIISampler", "nsga3": "NSGAIIISampler", "gp": "GPSampler"}
"""Optuna's samplers for several objectives, by name."""


class OptunaSampler(Recorded):
    """Suggests what a sampler of Optuna proposes; what it proposes again is answered from the record.

    Only finished trials teach it: with several objectives Optuna takes no value of a trial stopped early.

    Args:
        parameters: the space.
        goals: objectives, and constraints as one violation that Optuna's samplers keep at 0.
        sampler: "tpe", "nsga2", "nsga3" or "gp".
        seed: of the sampler.
        initial: configs to suggest first, in order.
        identity: tells which configs are the same variant; none is suggested twice.

    Raises:
        ImportError: Optuna is not installed.
        ValueError: the sampler is unknown, the space is empty, or an initial config is not legal.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        *,
        sampler: str = "tpe",
        seed: int = 0,
        initial: Sequence[Config] = (),
        identity: Identity | None = None,
    ) -> None:
        extras.load("optuna", "optuna")
        if sampler not in SAMPLERS:
            raise UserError(f"sampler {sampler!r} is unknown; {did_you_mean(sampler, SAMPLERS)}")
        asked = Replayed(partial(_OptunaSearch, tuple(parameters), goals, SAMPLERS[sampler], seed, initial))
        super().__init__(asked, parameters, identity=identity, seed=seed)


class _OptunaSearch:
    """Ray's OptunaSearch on the unit cube: costs to minimise, cells by number."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        sampler: str,
        seed: int,
        initial: Sequence[Config],
    ) -> None:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._encoding = Encoding(parameters)
        self._trials = Trials(goals)
        self._costs = [f"cost {i}" for i in range(len(goals.objectives))]
        self._violation: list[float] = []
        self._novelty = Novelty(self._encoding, None, initial)
        self._seed = seed
        self._recalled: dict[str, Any] | None = None
        self._worked: dict[str, Any] | None = None
        storage = optuna.storages.InMemoryStorage()
        self._sampler = getattr(optuna.samplers, sampler)
        self._options = {"constraints_func": self._constraints} if goals.constraints else {}
        self._search = OptunaSearch(
            {f"{i}": _distribution(p) for i, p in enumerate(self._encoding.parameters)},
            metric=self._costs,
            mode=["min"] * len(self._costs),
            sampler=self._sampler(seed=seed, **self._options),
            storage=storage,
            study_name=sampler,
        )
        self._study = optuna.load_study(study_name=sampler, storage=storage)

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, the next initial one, or the sampler's proposal, whether it is new or not."""
        # Optuna knows a trial only by its own suggestion: it is made to suggest what is given.
        return self._trials.ask(trial, None, self._novelty, lambda: self._suggestion(trial, given))

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric."""
        self._trials.tell(trial, step, values)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Tell Optuna; a trial without all its values is told as failed, or it would run for ever."""
        if trial not in self._trials.running:
            return
        member = self._trials.end(trial, outcome)
        if member is None or member.level != FINISHED:
            self._search.on_trial_complete(trial, None, error=True)
            return
        costs, self._violation = _finite(member.costs), _finite([member.violation])
        self._search.on_trial_complete(trial, dict(zip(self._costs, costs, strict=True)))

    def worked_out(self) -> dict[str, Any] | None:
        """The last suggestion as Optuna has it, where that is finer than its config."""
        worked, self._worked = self._worked, None
        return worked

    def recall(self, worked: Mapping[str, Any]) -> None:
        """Take over how Optuna had the config that is given next.

        Raises:
            ValueError, KeyError, TypeError: it is none of this space.
        """
        coded = {f"{i}": float(worked[f"{i}"]) for i in range(len(self._encoding))}
        if not all(0 <= value < 1e9 for value in coded.values()):
            raise ValueError(f"{coded} is no point of this space")
        self._recalled = coded

    def _suggestion(self, trial: str, given: Config | None) -> tuple[Vector, Config]:
        recalled, self._recalled = self._recalled, None
        key = [self._seed, self._trials.asked]
        rng = np.random.default_rng(key)
        found = self._novelty.given(given) if given is not None else self._novelty.initial(rng)
        if found is not None:
            self._study.enqueue_trial(self._recorded(recalled) if recalled else self._coded(found[0]))
        # Whatever was drawn before: a run that is gone on with has not drawn what it was given.
        study: Any = self._search._ot_study
        study.sampler = self._sampler(seed=int(rng.integers(2**32)), **self._options)
        coded: dict[str, Any] = self._search.suggest(trial) or {}
        config = self._decoded(coded)
        self._worked = None if coded == self._coded(self._encoding.encode(config)) else dict(coded)
        return self._point(coded), config

    def _decoded(self, coded: Mapping[str, Any]) -> Config:
        return self._encoding.decode(self._point(coded))

    def _recorded(self, coded: Mapping[str, float]) -> dict[str, Any]:
        whole = map(_by_number, self._encoding.parameters)
        return {name: int(x) if w else x for (name, x), w in zip(coded.items(), whole, strict=True)}

    def _point(self, coded: Mapping[str, Any]) -> Vector:
        point = [
            p.middle(coded[f"{i}"]) if _by_number(p) else coded[f"{i}"]
            for i, p in enumerate(self._encoding.parameters)
        ]
        return np.array(point)

    def _constraints(self, trial: Any) -> list[float]:
        """The violation of the trial that Optuna is being told of: it asks just then."""
        return self._violation

    def _coded(self, point: Vector) -> dict[str, Any]:
        return {
            f"{i}": min(int(x * p.cells), int(p.cells) - 1) if _by_number(p) else float(x)
            for i, (p, x) in enumerate(zip(self._encoding.parameters, point, strict=True))
        }


def _by_number(parameter: Parameter) -> bool:
    """Whether Optuna sees the number of the cell; else it sees the coordinate on the unit interval."""
    return math.isfinite(parameter.cells) and not parameter.log


def _distribution(parameter: Parameter) -> Any:
    from optuna import distributions

    if parameter.kind == "categorical":
        return distributions.CategoricalDistribution(list(range(len(parameter.choices))))
    if _by_number(parameter):
        return distributions.IntDistribution(0, int(parameter.cells) - 1)
    return distributions.FloatDistribution(0.0, 1.0)


def _finite(numbers: Sequence[float]) -> list[float]:
    """Infinite ones as large as Optuna can still compute with."""
    finite: list[float] = np.clip(numbers, -1e30, 1e30).tolist()
    return finite
