"""What every searcher must keep, driven through every way in which trials can go."""

from __future__ import annotations

import copy
import inspect
import json
import math
from collections.abc import Callable, Sequence

import numpy as np

from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Searcher
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.testing.demands import GOALS, ONE_GOAL, PARAMETERS, demand, through_json

_SMALL = (
    Parameter(("a",), "categorical", choices=("x", "y")),
    Parameter(("b",), "integer", low=1, high=3),
)


def check_searcher(
    make: Callable[[Sequence[Parameter], Goals], Searcher], parameters: Sequence[Parameter] = PARAMETERS
) -> None:
    """Check that a searcher keeps its contract.

    It suggests legal configs, none twice, also with many in flight; bears trials that stop, fail, report NaN
    or infinities, lack an objective or are unknown, and a single objective; gives the same answers to the
    same calls; its state is plain JSON that changes no later answer; it takes given configs as if it had
    proposed them; and a space of six configs is exhausted after six.

    Args:
        make: from parameters and goals to a fresh searcher, with the same seed each time.
        parameters: the space, for a searcher that cannot take all kinds; the small space is then left out.

    Raises:
        AssertionError: it does not keep the contract.
    """
    first, second = make(parameters, GOALS), make(parameters, GOALS)
    first.tell("stranger", 1, {"accuracy": 0.5})
    first.end("stranger", "finished")
    configs = _drive(first, 0, 60)
    second.tell("stranger", 1, {"accuracy": 0.5})
    second.end("stranger", "finished")
    demand(_drive(second, 0, 60) == configs, "the same calls must give the same suggestions")
    _demand_legal(configs, parameters)
    resumed = make(parameters, GOALS)
    resumed.load(through_json(first.state()))
    demand(
        _drive(resumed, 60, 80) == _drive(first, 60, 80), "state and load must not change later suggestions"
    )
    _check_in_flight(make, parameters)
    _check_given(make, parameters, configs)
    _demand_legal(_drive(make(parameters, ONE_GOAL), 0, 20), parameters)
    if parameters is PARAMETERS:
        _check_exhaustion(make)


def check_searcher_options(make: Callable[..., Searcher]) -> None:
    """Check what a study asks of a searcher besides: initial configs and the identity of variants.

    Initial configs come first, in order, each once; what they lack is filled in; no two configs of the same
    key are suggested, whatever their inactive parameters say.

    Args:
        make: from parameters, goals and the keywords ``initial`` and ``identity`` to a fresh searcher.

    Raises:
        AssertionError: it does not keep the contract.
    """
    full = {"architecture": {"depth": 2, "block": "plain"}, "pruning": {"ratio": 0.1}, "lr": 1e-3}
    part = {"architecture": {"depth": 3, "block": "basic"}}
    searcher = make(PARAMETERS, GOALS, initial=[full, full, part], identity=None)
    configs = _drive(searcher, 0, 12)
    close = json.dumps(configs[0], sort_keys=True) == json.dumps(full, sort_keys=True)
    demand(close, f"the initial configs come first: {configs[0]} instead of {full}")
    demand(
        configs[1]["architecture"] == part["architecture"],
        f"a repeated initial config is passed over, one that lacks parameters is filled in: {configs[1]}",
    )
    _demand_legal(configs, PARAMETERS)

    def identity(config: Config) -> tuple[str, frozenset[str]]:
        """The number b matters where a is "y" only: four variants."""
        names = frozenset({"a", "b"} if config["a"] == "y" else {"a"})
        return repr([config[name] for name in sorted(names)]), names

    found = _asked(make(_SMALL, GOALS, initial=[], identity=identity), 30)
    keys = [identity(config)[0] for config in found]
    demand(len(set(keys)) == len(keys), f"no two configs of the same key: {found}")


def _drive(searcher: Searcher, start: int, stop: int, given: Sequence[Config] = ()) -> list[Config]:
    """The configs of trials start to stop, run three at a time through every way in which a trial can go.

    The first of them are given, as many as there are.
    """
    configs, running = [], []
    for i in range(start, stop):
        chosen = given[i - start : i - start + 1]
        config = searcher.ask(f"t{i}", copy.deepcopy(chosen[0])) if chosen else searcher.ask(f"t{i}")
        demand(isinstance(config, dict), "ask must return a config while the space is not exhausted")
        assert config is not None
        configs.append(copy.deepcopy(config))
        running.append((i, config))
        if len(running) == 3:
            _finish(searcher, *running.pop(i % 3))
    for i, config in running:
        _finish(searcher, i, config)
    return configs


def _finish(searcher: Searcher, i: int, config: Config) -> None:
    rng = np.random.default_rng(i)
    trial = f"t{i}"
    searcher.tell(trial, 0, {"latency_ms/cpu": float(rng.random())} if i % 17 != 5 else {})
    if i % 7 == 0:
        return searcher.end(trial, "stopped")
    odd = {1: math.nan, 2: math.inf, 3: -math.inf}.get(i % 11, float(rng.random()))
    searcher.tell(trial, 1, {"accuracy": odd} if i % 13 != 5 else {})
    config.clear()  # the searcher must not depend on what others do with a config
    return searcher.end(trial, ("finished", "stopped", "failed", "finished")[i % 4])


def _check_in_flight(
    make: Callable[[Sequence[Parameter], Goals], Searcher], parameters: Sequence[Parameter]
) -> None:
    """Ten trials in flight, before anything is known and after, have ten configs."""
    searcher = make(parameters, GOALS)
    configs = [searcher.ask(f"t{i}") for i in range(10)]
    demand(all(configs), "ask must return a config however many trials are in flight")
    for i in range(10):
        _finish(searcher, i, {})
    configs += [searcher.ask(f"t{i}") for i in range(10, 20)]
    _demand_legal([config for config in configs if config], parameters)
    demand(all(configs), "ask must return a config however many trials are in flight")


def _check_given(
    make: Callable[[Sequence[Parameter], Goals], Searcher],
    parameters: Sequence[Parameter],
    configs: Sequence[Config],
) -> None:
    """Configs that it would not propose now are taken, counted and not proposed again."""
    first, second = make(parameters, GOALS), make(parameters, GOALS)
    takes = "given" in inspect.signature(first.ask).parameters
    demand(takes, "ask must take a given config: def ask(self, trial, given=None)")
    given = [*reversed(configs[:30])]
    found = _drive(first, 0, 50, given)
    demand(found[:30] == given, "ask must return the config that is given")
    demand(found == _drive(second, 0, 50, given), "the same given configs must give the same suggestions")
    _demand_legal(found, parameters)
    resumed = make(parameters, GOALS)
    resumed.load(through_json(first.state()))
    demand(
        _drive(resumed, 50, 60) == _drive(first, 50, 60),
        "state and load must not change later suggestions where configs were given",
    )


def _check_exhaustion(make: Callable[[Sequence[Parameter], Goals], Searcher]) -> None:
    """Six configs are suggested, then None, however often it is asked."""
    searcher = make(_SMALL, GOALS)
    found = _asked(searcher, 12)
    demand(len(found) == 6, f"a space of 6 configs gives 6 suggestions and then None: it gave {len(found)}")
    _demand_legal(found, _SMALL)
    demand(searcher.ask("last") is None, "an exhausted space stays exhausted")
    resumed = make(_SMALL, GOALS)
    resumed.load(through_json(searcher.state()))
    demand(resumed.ask("last") is None, "an exhausted space stays exhausted through state and load")
    again = make(_SMALL, GOALS)
    twice = [again.ask(trial, copy.deepcopy(found[0])) for trial in ("once", "again")]
    demand(twice == [found[0]] * 2, "a config that is given twice is taken twice")
    rest = _asked(again, 12)
    demand(len(rest) == 5 and found[0] not in rest, f"what was given is not proposed again: {rest}")


def _asked(searcher: Searcher, times: int) -> list[Config]:
    """What it suggests, each trial finished at once."""
    found = []
    for i in range(times):
        config = searcher.ask(f"t{i}")
        if config is not None:
            found.append(copy.deepcopy(config))
            searcher.tell(f"t{i}", 10, {"accuracy": i / times, "latency_ms/cpu": 0.1 * i})
            searcher.end(f"t{i}", "finished")
    return found


def _demand_legal(configs: Sequence[Config], parameters: Sequence[Parameter]) -> None:
    demand(len({json.dumps(c, sort_keys=True) for c in configs}) == len(configs), "no config twice")
    encoding = Encoding(parameters)
    for config in configs:
        legal = encoding.decode(encoding.encode(config))
        demand(set(legal) == set(config), f"a config has the searched keys, nested, and no others: {config}")
