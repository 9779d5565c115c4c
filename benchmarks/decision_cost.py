"""What the search itself costs: a decision, a suggestion, and the driver's time a trial beside plain Tune's.

Purpose: the cost of the driver as runs grow. All figures are process CPU time.

- A decision: two objectives, n trials have reported at one rung; the median over the next 50 newcomers that
  report there ("decision_ms@1000"). Every scheduler that stops trials is measured; one that judges after each
  step does so after the first. ``NAME_ms@1000`` is the other schedulers' figure.
- A suggestion of the default searcher: a mixed space of 12 parameters, two objectives, n finished trials; one
  ``ask`` with the ``tell`` and ``end`` of its trial, the median over 5 blocks of the mean of 10, so that a
  model that is fitted now and then counts ("suggestion_ms@200"). "study_suggestion_ms@200" is the same in the
  space of a study, where the canonical form of each config that comes near to being suggested is worked out.
- What a config of that space amounts to ("variant_ms"), and the same for one that is remembered
  ("known_variant_ms"), the mean over 500.
- Driver time a trial: n no-op trials, one report each, two workers of a local Ray. Plain Tune: a class
  trainable, its own random search, no scheduler, ``reuse_actors``, loggers off, a snapshot a day: the
  cheapest settings known. Ours: the same trainable, space and settings, NSGA-II through TuneSearcher and
  successive halving through TuneScheduler. "driver_ratio@1000" is the ratio of the medians.
  "plain_defaults_ms@100" is plain Tune as it comes (with ``reuse_actors``: else each trial starts a
  process). The runs alternate.

Acceptance: a decision 0.3 ms at 1,000 and 3 ms at 10,000; a suggestion 20 ms at 200 and 50 ms at 2,000; a
driver ratio of at most 1.2.

Limit: sorting n trials of two objectives takes n log n, 0.13 ms at 1,000 and 2 ms at 10,000; a no-op trial
costs plain Tune some 10 ms.

Table: none. ``--seeds`` is the number of alternating driver runs (the largest size runs once).
"""

from __future__ import annotations

import inspect
import time
from functools import partial

import numpy as np
from ray import tune

from benchmarks.common import arguments, report
from benchmarks.driver_cost import driver_ms
from raysearch.objectives import Goals
from raysearch.schedulers import SCHEDULERS, make_scheduler
from raysearch.search_spaces.space import Space
from raysearch.searchers import make_searcher
from raysearch.searchers.base import Config, Searcher
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.tune import parameters_of

NAME = "decision_cost"
RUNGS = (100, 1_000, 10_000)
TRIALS = (200, 2_000, 10_000)
STUDY_TRIALS = (200, 2_000)
DRIVERS = (100, 1_000, 3_000)
MAX_STEP = 27
GOALS = Goals.parse(["minimize error", "minimize size"], last_step=MAX_STEP)
SPACE = (
    *(Parameter(("blocks", f"kind_{i}"), "categorical", choices=tuple("abcde")) for i in range(4)),
    *(Parameter(("widths", f"width_{i}"), "integer", low=8, high=64) for i in range(4)),
    *(Parameter(("rates", f"rate_{i}"), "float", low=1e-4, high=1e-1, log=True) for i in range(4)),
)


def decision_ms(scheduler: str, n: int, newcomers: int = 50) -> float:
    """The median decision on a newcomer among n trials that reported the first step."""
    rng = np.random.default_rng(0)
    judge = make_scheduler(scheduler, GOALS, max_step=MAX_STEP)
    costs = rng.random((n + newcomers, 2))
    taken = []
    for i, (error, size) in enumerate(costs.tolist()):
        start = time.process_time()
        judge.decide(f"{i:05d}", 1, {"error": error, "size": size})
        taken.append(time.process_time() - start)
    return 1e3 * float(np.median(taken[n:]))


def suggestion_ms(
    searcher: str, n: int, blocks: int = 5, block: int = 10, study: Space | None = None
) -> float:
    """The median over blocks of the mean cost of a suggestion after n finished trials.

    In the mixed space, where each config is a variant of its own, or in that of a study.
    """
    rng = np.random.default_rng(0)
    parameters = parameters_of(study.domains) if study else SPACE
    encoding = Encoding(parameters)
    known = [encoding.decode(encoding.sample(rng)) for _ in range(n)]
    told_apart = partial(_variant, study) if study else identity
    method = make_searcher(searcher, parameters, GOALS, seed=0, initial=known, identity=told_apart)
    for i in range(n):
        _trial(method, f"{i:05d}", encoding)
    means = []
    for first in range(n, n + blocks * block, block):
        start = time.process_time()
        for i in range(first, first + block):
            _trial(method, f"{i:05d}", encoding)
        means.append((time.process_time() - start) / block)
    return 1e3 * float(np.median(means))


def study_space() -> Space:
    """The space of a study that searches all five keys, fresh."""
    from raysearch import search_spaces as spaces

    architecture = spaces.resnet(stages=(2, 4), kernel=(3, 5), block=("basic", "plain", "separable"))
    return spaces.bind(
        {
            "architecture": architecture,
            "pruning": spaces.channel_pruning(criterion=("magnitude", "random")),
            "bits": spaces.bit_widths(),
            "teacher": spaces.teachers(None, "parent"),
            "training": {"lr": tune.loguniform(1e-4, 1e-2)},
        }
    )


def variant_ms(configs: int = 500) -> tuple[float, float]:
    """The mean cost of working out what a config of a study amounts to, and of remembering it."""
    space, rng = study_space(), np.random.default_rng(0)
    encoding = Encoding(parameters_of(space.domains))
    drawn = [encoding.decode(encoding.sample(rng)) for _ in range(configs)]
    taken = []
    for _ in range(2):
        start = time.process_time()
        for config in drawn:
            space.variant(config)
        taken.append(1e3 * (time.process_time() - start) / configs)
    return taken[0], taken[1]


def default_of(kind: str) -> str:
    """The "searcher" or "scheduler" of a study that names none."""
    from raysearch.study import Study

    return str(inspect.signature(Study).parameters[kind].default)


def main(argv: list[str] | None = None) -> None:
    """Measure, print each figure and, with --json, all of them."""
    options = arguments(__doc__, seeds=3).parse_args(argv)
    figures: dict[str, float] = {}
    searcher = default_of("searcher")
    print(f"the default searcher is {searcher}")
    for scheduler in SCHEDULERS:
        if scheduler == "full_training":
            continue
        label = "decision" if scheduler == "successive_halving" else scheduler
        for n in RUNGS:
            _note(figures, f"{label}_ms@{n}", decision_ms(scheduler, n))
    for n in TRIALS:
        _note(figures, f"suggestion_ms@{n}", suggestion_ms(searcher, n))
    for n in STUDY_TRIALS:
        _note(figures, f"study_suggestion_ms@{n}", suggestion_ms(searcher, n, study=study_space()))
    for name, value in zip(("variant_ms", "known_variant_ms"), variant_ms(), strict=True):
        _note(figures, name, value)
    for name, value in driver_ms(DRIVERS, options.seeds):
        _note(figures, name, value)
    if options.json:
        report(NAME, figures, {})


def _note(figures: dict[str, float], name: str, value: float) -> None:
    figures[name] = round(value, 4)
    print(f"{name:32}{figures[name]:>12.3f}", flush=True)


def identity(config: Config) -> tuple[str, frozenset[str]]:
    return repr(config), _NAMES


def _variant(space: Space, config: Config) -> tuple[str, frozenset[str]]:
    variant = space.variant(config)
    return variant.key, variant.active


_NAMES = frozenset(Encoding(SPACE).names)


def _trial(searcher: Searcher, trial: str, encoding: Encoding) -> None:
    """A trial whose error falls with size, and is best at one point of the rest."""
    config = searcher.ask(trial)
    assert config is not None
    point = encoding.encode(config)
    widths = np.array(["width" in name for name in encoding.names])
    size = float(point[widths].mean())
    error = float(np.square(point[~widths] - 0.4).mean()) + (1 - size) ** 2
    searcher.tell(trial, MAX_STEP, {"error": error, "size": size})
    searcher.end(trial, "finished")


if __name__ == "__main__":
    main()
