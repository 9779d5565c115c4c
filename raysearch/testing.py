"""Contract tests that any searcher or scheduler must pass, ours or a user's, and a statistical comparator.

    def test_contract():
        check_scheduler(lambda goals: MyScheduler(goals, max_step=9))

Each check raises AssertionError with a sentence that says what the contract asks for.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision, Scheduler
from raysearch.searchers.base import Config, Searcher
from raysearch.searchers.encoding import Encoding, Parameter

GOALS = Goals.parse(["maximize accuracy", "minimize latency_ms/cpu"], ["latency_ms/cpu <= 0.9"], last_step=10)
"""The goals of the checks: latency is known at step 0, accuracy after each of 9 epochs and at step 10."""

PARAMETERS = (
    Parameter(("architecture", "depth"), "integer", low=1, high=4),
    Parameter(("architecture", "block"), "categorical", choices=("basic", "plain", "separable")),
    Parameter(("pruning", "ratio"), "float", low=0.0, high=0.8, step=0.05),
    Parameter(("lr",), "float", low=1e-4, high=1e-2, log=True),
)
"""The space of the checks: one parameter of each kind."""

Values = dict[str, float]


def check_searcher(make: Callable[[Sequence[Parameter], Goals], Searcher]) -> None:
    """Check that a searcher keeps its contract.

    It suggests legal configs, none twice; bears trials that stop, fail, report NaN, or are unknown;
    gives the same answers to the same calls; and its state is plain JSON that changes no later answer.

    Args:
        make: from parameters and goals to a fresh searcher, with the same seed each time.

    Raises:
        AssertionError: it does not keep the contract.
    """
    first, second = make(PARAMETERS, GOALS), make(PARAMETERS, GOALS)
    first.tell("stranger", 1, {"accuracy": 0.5})
    first.end("stranger", "finished")
    configs = _drive(first, 0, 60)
    second.tell("stranger", 1, {"accuracy": 0.5})
    second.end("stranger", "finished")
    _demand(_drive(second, 0, 60) == configs, "the same calls must give the same suggestions")
    _demand(len({json.dumps(c, sort_keys=True) for c in configs}) == len(configs), "no config twice")
    encoding = Encoding(PARAMETERS)
    for config in configs:
        legal = encoding.decode(encoding.encode(config))
        _demand(set(legal) == set(config), f"a config has the searched keys, nested, and no others: {config}")
    resumed = make(PARAMETERS, GOALS)
    resumed.load(_through_json(first.state()))
    _demand(
        _drive(resumed, 60, 80) == _drive(first, 60, 80), "state and load must not change later suggestions"
    )


def check_scheduler(make: Callable[[Goals], Scheduler]) -> None:
    """Check that a scheduler keeps its contract, with 9 epochs a trial (``max_step`` 9).

    It never stops a feasible newcomer that dominates all; lets the exported model (step 10) be; ignores
    repeated steps; bears skipped steps, ties, NaN and infinities; and its state is plain JSON that changes no
    later decision.

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


def better(a: Sequence[float], b: Sequence[float]) -> float:
    """The one-sided p-value that figures like ``a`` are higher than those like ``b`` (Mann-Whitney U).

    Small means that ``a`` is better: below 0.05 by the usual reading. Equal samples give about 0.5.

    Args:
        a: one figure a seed, higher is better (such as hypervolume at equal cost).
        b: the same of the other method; the lengths may differ.

    Raises:
        ValueError: fewer than two figures in a or b, or one that is NaN.
    """
    from scipy.stats import mannwhitneyu  # type: ignore[import-untyped]

    for name, figures in (("a", a), ("b", b)):
        if len(figures) < 2:
            raise ValueError(
                f"{name} has {len(figures)} figures: a comparison needs at least 2 seeds, better 20"
            )
        if any(math.isnan(figure) for figure in figures):
            raise ValueError(f"{name} has a figure that is NaN: leave that seed out of both")
    return float(mannwhitneyu(a, b, alternative="greater").pvalue)


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
    searcher.tell(trial, 0, {"latency_ms/cpu": float(rng.random())})
    if i % 7 == 0:
        return searcher.end(trial, "stopped")
    searcher.tell(trial, 1, {"accuracy": math.nan if i % 11 == 0 else float(rng.random())})
    config.clear()  # the searcher must not depend on what others do with a config
    return searcher.end(trial, ("finished", "stopped", "failed", "finished")[i % 4])


def _reports() -> Iterator[tuple[str, int, Values]]:
    """90 trials, interleaved: duplicates, ties, NaN, infinities, skipped and repeated steps."""
    rng = np.random.default_rng(0)
    worth = {
        f"t{i}": Values(accuracy=round(rng.random(), 1), latency=round(rng.random(), 1)) for i in range(90)
    }
    for trial, value in worth.items():
        yield trial, 0, {"latency_ms/cpu": value["latency"]}
    for step in range(1, 11):
        for i, (trial, value) in enumerate(worth.items()):
            if step % 3 == 1 and i % 5 == 0:
                continue
            odd = {3: math.nan, 4: math.inf, 5: -math.inf}.get(i, value["accuracy"] + 0.01 * step)
            yield trial, step, {"accuracy": odd}
            if i % 9 == 0:
                yield trial, step, {"accuracy": 0.0}


def _check_best(scheduler: Scheduler) -> None:
    """A newcomer that dominates all goes on at every step."""
    for step in range(11):
        values = {"latency_ms/cpu": -1.0} if step == 0 else {"accuracy": math.inf}
        decision = scheduler.decide("best", step, values)
        _demand(
            decision is not Decision.STOP, f"a newcomer that dominates all must not be stopped (step {step})"
        )
    worst = [scheduler.decide("worst", step, {"accuracy": -9.0}) for step in (10, 11)]
    _demand(set(worst) == {Decision.CONTINUE}, "nothing may stop the exported model after the last epoch")


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
