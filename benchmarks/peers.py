"""The rivals of our searchers, each with its own defaults, behind the same ask and tell.

``PEERS[name](parameters, goals, seed)`` makes a fresh one. A name whose package is absent raises ImportError
with what to install. Optuna's samplers may repeat a config, as they do in Optuna: it costs an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raysearch.basics import extras
from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Outcome, Searcher
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.random import RandomSearch


class OptunaPeer:
    """A sampler of Optuna, driven by Optuna's own ask and tell on its own distributions."""

    def __init__(self, parameters: Sequence[Parameter], goals: Goals, sampler: Any) -> None:
        optuna = extras.load("optuna", "peers")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._encoding, self._goals = Encoding(parameters), goals
        self._space = {str(p): _distribution(p, optuna.distributions) for p in parameters}
        self._study = optuna.create_study(sampler=sampler, directions=["minimize"] * len(goals.objectives))
        self._fail = optuna.trial.TrialState.FAIL
        self._running: dict[str, tuple[Any, dict[str, float]]] = {}

    def ask(self, trial: str) -> Config | None:
        """The sampler's next config, whether it is new or not."""
        asked = self._study.ask(fixed_distributions=self._space)
        self._running[trial] = (asked, {})
        config: Config = {}
        for parameter in self._encoding.parameters:
            value = asked.params[str(parameter)]
            inner = config
            for key in parameter.name[:-1]:
                inner = inner.setdefault(key, {})
            inner[parameter.name[-1]] = parameter.choices[value] if parameter.kind == "categorical" else value
        return config

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric."""
        if trial in self._running:
            self._running[trial][1].update(values)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Tell Optuna the final values; it takes nothing of a trial stopped early on several objectives."""
        if trial not in self._running:
            return
        asked, values = self._running.pop(trial)
        costs = self._goals.costs(values).tolist()
        if outcome == "finished" and all(cost == cost for cost in costs):
            self._study.tell(asked, costs)
        else:
            self._study.tell(asked, state=self._fail)

    def state(self) -> dict[str, Any]:
        """None that could be kept: peers run only inside one process."""
        raise NotImplementedError("a peer of the benchmarks keeps no state")

    def load(self, state: Mapping[str, Any]) -> None:
        """None that could be taken over."""
        raise NotImplementedError("a peer of the benchmarks keeps no state")


def _distribution(parameter: Parameter, distributions: Any) -> Any:
    if parameter.kind == "categorical":
        return distributions.CategoricalDistribution(list(range(len(parameter.choices))))
    if parameter.kind == "integer":
        low, high, step = int(parameter.low), int(parameter.high), 1 if parameter.log else parameter.step
        return distributions.IntDistribution(low, high, log=parameter.log, step=int(step or 1))
    step = None if parameter.log else parameter.step
    return distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=step)


def _tpe(parameters: Sequence[Parameter], goals: Goals, seed: int) -> Searcher:
    samplers = extras.load("optuna", "peers").samplers
    return OptunaPeer(parameters, goals, samplers.TPESampler(seed=seed))


def _nsga2(parameters: Sequence[Parameter], goals: Goals, seed: int) -> Searcher:
    samplers = extras.load("optuna", "peers").samplers
    return OptunaPeer(parameters, goals, samplers.NSGAIISampler(seed=seed))


def _random(parameters: Sequence[Parameter], goals: Goals, seed: int) -> Searcher:
    return RandomSearch(parameters, goals, seed=seed)


def _qlognehvi(parameters: Sequence[Parameter], goals: Goals, seed: int) -> Searcher:
    from raysearch.searchers.libraries.qlognehvi import QLogNEHVI

    return QLogNEHVI(parameters, goals, seed=seed)


PEERS: dict[str, Callable[[Sequence[Parameter], Goals, int], Searcher]] = {
    "random": _random,
    "optuna_nsga2": _nsga2,
    "optuna_tpe": _tpe,
    "botorch_qlognehvi": _qlognehvi,
}
