"""What every searcher and scheduler must keep, driven through every way in which trials can go."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision, Outcome, Promoting, Scheduler
from raysearch.searchers.base import Config, Searcher
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import Problem, simulate

GOALS = Goals.parse(["maximize accuracy", "minimize latency_ms/cpu"], ["latency_ms/cpu <= 0.9"], last_step=10)
"""The goals of the checks: latency is known at step 0, accuracy after each of 9 epochs and at step 10."""

ONE_GOAL = Goals.parse(["maximize accuracy"], last_step=10)
"""The same with a single objective."""

PARAMETERS = (
    Parameter(("architecture", "depth"), "integer", low=1, high=4),
    Parameter(("architecture", "block"), "categorical", choices=("basic", "plain", "separable")),
    Parameter(("pruning", "ratio"), "float", low=0.0, high=0.8, step=0.05),
    Parameter(("lr",), "float", low=1e-4, high=1e-2, log=True),
)
"""The space of the checks: one parameter of each kind."""

_SMALL = (
    Parameter(("a",), "categorical", choices=("x", "y")),
    Parameter(("b",), "integer", low=1, high=3),
)

Values = dict[str, float]


def check_searcher(
    make: Callable[[Sequence[Parameter], Goals], Searcher], parameters: Sequence[Parameter] = PARAMETERS
) -> None:
    """Check that a searcher keeps its contract.

    It suggests legal configs, none twice, also with many in flight; bears trials that stop, fail, report NaN
    or infinities, lack an objective or are unknown, and a single objective; gives the same answers to the
    same calls; its state is plain JSON that changes no later answer; and a space of six configs is exhausted
    after six.

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
    _demand(_drive(second, 0, 60) == configs, "the same calls must give the same suggestions")
    _demand_legal(configs, parameters)
    resumed = make(parameters, GOALS)
    resumed.load(_through_json(first.state()))
    _demand(
        _drive(resumed, 60, 80) == _drive(first, 60, 80), "state and load must not change later suggestions"
    )
    _check_in_flight(make, parameters)
    _demand_legal(_drive(make(parameters, ONE_GOAL), 0, 20), parameters)
    if parameters is PARAMETERS:
        _check_exhaustion(make)


def check_searcher_options(make: Callable[..., Searcher]) -> None:
    """Check what a study asks of a searcher besides: initial configs and the canonical form.

    Initial configs come first, in order, each once; what they lack is filled in; no two configs of the same
    key are suggested, whatever their inactive parameters say.

    Args:
        make: from parameters, goals and the keywords ``initial`` and ``canonical`` to a fresh searcher.

    Raises:
        AssertionError: it does not keep the contract.
    """
    full = {"architecture": {"depth": 2, "block": "plain"}, "pruning": {"ratio": 0.1}, "lr": 1e-3}
    part = {"architecture": {"depth": 3, "block": "basic"}}
    searcher = make(PARAMETERS, GOALS, initial=[full, full, part], canonical=None)
    configs = _drive(searcher, 0, 12)
    close = json.dumps(configs[0], sort_keys=True) == json.dumps(full, sort_keys=True)
    _demand(close, f"the initial configs come first: {configs[0]} instead of {full}")
    _demand(
        configs[1]["architecture"] == part["architecture"],
        f"a repeated initial config is passed over, one that lacks parameters is filled in: {configs[1]}",
    )
    _demand_legal(configs, PARAMETERS)

    def canonical(config: Config) -> tuple[str, frozenset[str]]:
        """The number b matters where a is "y" only: four variants."""
        names = frozenset({"a", "b"} if config["a"] == "y" else {"a"})
        return repr([config[name] for name in sorted(names)]), names

    found = _asked(make(_SMALL, GOALS, initial=[], canonical=canonical), 30)
    keys = [canonical(config)[0] for config in found]
    _demand(len(set(keys)) == len(keys), f"no two configs of the same canonical form: {found}")


def check_scheduler(make: Callable[[Goals], Scheduler]) -> None:
    """Check that a scheduler keeps its contract, with 9 epochs a trial (``max_step`` 9).

    It never stops a feasible newcomer that dominates all; lets the exported model (step 10) be; ignores
    repeated steps; bears skipped steps, ties, NaN, infinities, a missing objective and a single one; and its
    state is plain JSON that changes no later decision, also while trials are paused. One that pauses promotes
    only paused trials, each once a pause.

    Args:
        make: from goals to a fresh scheduler, with the same seed each time.

    Raises:
        AssertionError: it does not keep the contract.
    """
    reports = list(_reports())
    first, second = make(GOALS), make(GOALS)
    decisions = [first.decide(*report) for report in reports]
    _demand(all(isinstance(d, Decision) for d in decisions), "decide must return a Decision")
    half = len(reports) // 2
    for report in reports[:half]:
        second.decide(*report)
    resumed = make(GOALS)
    resumed.load(_through_json(second.state()))
    later = [resumed.decide(*report) for report in reports[half:]]
    _demand(later == decisions[half:], "state and load must not change later decisions")
    before = _through_json(first.state())
    repeated = [first.decide(*report) for report in reports[-20:]]
    _demand(set(repeated) <= {Decision.CONTINUE}, "a step reported before must be answered CONTINUE")
    _demand(_same(_through_json(first.state()), before), "a step reported before must change nothing")
    _check_best(first)
    for goals in (GOALS, ONE_GOAL):
        _check_run(make, goals)


def _drive(searcher: Searcher, start: int, stop: int) -> list[Config]:
    """The configs of trials start to stop, run three at a time through every way in which a trial can go."""
    configs, running = [], []
    for i in range(start, stop):
        config = searcher.ask(f"t{i}")
        _demand(isinstance(config, dict), "ask must return a config while the space is not exhausted")
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
    _demand(all(configs), "ask must return a config however many trials are in flight")
    for i in range(10):
        _finish(searcher, i, {})
    configs += [searcher.ask(f"t{i}") for i in range(10, 20)]
    _demand_legal([config for config in configs if config], parameters)
    _demand(all(configs), "ask must return a config however many trials are in flight")


def _check_exhaustion(make: Callable[[Sequence[Parameter], Goals], Searcher]) -> None:
    """Six configs are suggested, then None, however often it is asked."""
    searcher = make(_SMALL, GOALS)
    found = _asked(searcher, 12)
    _demand(len(found) == 6, f"a space of 6 configs gives 6 suggestions and then None: it gave {len(found)}")
    _demand_legal(found, _SMALL)
    _demand(searcher.ask("last") is None, "an exhausted space stays exhausted")
    resumed = make(_SMALL, GOALS)
    resumed.load(_through_json(searcher.state()))
    _demand(resumed.ask("last") is None, "an exhausted space stays exhausted through state and load")


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
    _demand(len({json.dumps(c, sort_keys=True) for c in configs}) == len(configs), "no config twice")
    encoding = Encoding(parameters)
    for config in configs:
        legal = encoding.decode(encoding.encode(config))
        _demand(set(legal) == set(config), f"a config has the searched keys, nested, and no others: {config}")


def _reports() -> Iterator[tuple[str, int, Values]]:
    """90 trials, interleaved: duplicates, ties, NaN, infinities, skipped and repeated steps."""
    rng = np.random.default_rng(0)
    worth = {
        f"t{i}": Values(accuracy=round(rng.random(), 1), latency=round(rng.random(), 1)) for i in range(90)
    }
    for i, (trial, value) in enumerate(worth.items()):
        yield trial, 0, {"latency_ms/cpu": value["latency"]} if i != 6 else {}
    for step in range(1, 11):
        for i, (trial, value) in enumerate(worth.items()):
            if step % 3 == 1 and i % 5 == 0:
                continue
            odd = {3: math.nan, 4: math.inf, 5: -math.inf}.get(i, value["accuracy"] + 0.01 * step)
            yield trial, step, {"accuracy": odd}
            if i % 9 == 0:
                yield trial, step, {"accuracy": 0.0}


def _check_best(scheduler: Scheduler) -> None:
    """A newcomer that dominates all goes on at every step, at once or promoted."""
    for step in range(11):
        values = {"latency_ms/cpu": -1.0} if step == 0 else {"accuracy": math.inf}
        decision = scheduler.decide("best", step, values)
        promoted = _promoted(scheduler) if decision is Decision.PAUSE else []
        _demand(
            decision is Decision.CONTINUE or "best" in promoted,
            f"a newcomer that dominates all must not be stopped (step {step}: {decision})",
        )
    worst = [scheduler.decide("worst", step, {"accuracy": -9.0}) for step in (10, 11)]
    _demand(set(worst) == {Decision.CONTINUE}, "nothing may stop the exported model after the last epoch")


def _promoted(scheduler: Scheduler) -> list[str]:
    """All that it promotes now; a trial promoted twice ends the asking."""
    found: list[str] = []
    while isinstance(scheduler, Promoting) and (trial := scheduler.promote()) is not None:
        _demand(trial not in found, f"a trial is promoted once a pause: {trial} was promoted twice")
        found.append(trial)
    return found


def _check_run(make: Callable[[Goals], Scheduler], goals: Goals) -> None:
    """A run of 40 trials on 3 workers, whole and with a fresh scheduler loaded at every seventh call."""

    def run(scheduler: Scheduler) -> list[tuple[str, int, Decision]]:
        rows = FixedList([{"row": row} for row in range(40)])
        found = simulate(Problem(_row, 10, first_step=0), rows, scheduler, workers=3, max_trials=40)
        return [(report.trial, report.step, report.decision) for report in found.reports]

    try:
        whole, reloaded = run(make(goals)), run(_Reloaded(lambda: make(goals)))
    except ValueError as error:
        if "not paused" not in str(error):
            raise
        raise AssertionError(f"only paused trials may be promoted: {error}") from error
    _demand(whole == reloaded, "state and load must not change later decisions while trials are paused")


def _row(config: Config, step: int) -> Values:
    rng = np.random.default_rng(config["row"])
    latency, floor = round(float(rng.random()), 1), round(float(rng.random()), 1)
    return {"latency_ms/cpu": latency} if step == 0 else {"accuracy": floor * step / (1 + step)}


class _Reloaded:
    """A scheduler that is made anew from its state, through JSON, at every seventh call."""

    def __init__(self, make: Callable[[], Scheduler]) -> None:
        self._make = make
        self._inner = make()
        self._calls = 0

    def decide(self, trial: str, step: int, values: Mapping[str, float]) -> Decision:
        return self._fresh().decide(trial, step, values)

    def promote(self) -> str | None:
        inner = self._fresh()
        return inner.promote() if isinstance(inner, Promoting) else None

    def end(self, trial: str, outcome: Outcome) -> None:
        self._fresh().end(trial, outcome)

    def state(self) -> dict[str, Any]:
        return self._inner.state()

    def load(self, state: Mapping[str, Any]) -> None:
        self._inner.load(state)

    def _fresh(self) -> Scheduler:
        self._calls += 1
        if self._calls % 7 == 0:
            state, self._inner = _through_json(self._inner.state()), self._make()
            self._inner.load(state)
        return self._inner


def _through_json(state: object) -> dict[str, object]:
    try:
        plain = json.loads(json.dumps(state))
    except TypeError as error:
        raise AssertionError(f"state must be plain JSON: {error}") from error
    _demand(isinstance(plain, dict), "state must be a dict")
    _demand(_same(plain, state), "state must be plain JSON: strings as keys, lists instead of tuples")
    return dict(plain)


def _same(a: object, b: object) -> bool:
    """Equality in which NaN equals NaN and a tuple does not equal a list."""
    return repr(a) == repr(b)


def _demand(kept: bool, contract: str) -> None:
    if not kept:
        raise AssertionError(contract)
