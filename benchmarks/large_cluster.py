"""A run of 100,000 trials on 10,000 simulated workers: what the driver does, and whether a worker ever waits.

Purpose: that the pure algorithms hold up at a size that no test of theirs reaches. Trials report 27 epochs
of a made-up learning curve that depends on a mixed space of 12 parameters; steps take 1 to 2 units of time,
one in a hundred is lost, one in fifty straggles, one in ten reports late. Random search with successive
halving does all trials; the default searcher with it does ``--suggested`` (a suggestion costs it more) on a
tenth as many workers.

Figures: "decision_ms" and "suggestion_ms", process CPU time a call, the mean; "driver_ms_a_trial", the
whole process, the simulation itself included; "max_rss_mb", the process's peak; "idle_share", the share of
all workers' time that passed while the searcher had been asked and had no config; "unanswered", how often
that was. With "default_" before them: those of the default searcher. "seconds" is wall time.

Acceptance: no worker idle for want of a suggestion; a decision within 3 ms and a suggestion of the default
searcher within 50 ms; five minutes in all.

Limit: an asynchronous search never waits: idle_share 0.

Table: none. ``--seeds`` is the seed here.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import arguments, report
from benchmarks.decision_cost import GOALS, MAX_STEP, SPACE, default_of, identity
from raysearch.schedulers import make_scheduler
from raysearch.searchers import make_searcher
from raysearch.searchers.base import Config
from raysearch.searchers.encoding import Encoding
from raysearch.simulation import Problem, simulate
from raysearch.simulation.faults import Faults

NAME = "large_cluster"
_ENCODING = Encoding(SPACE)


class Timed:
    """Stands before an algorithm and adds up the process CPU time of some of its methods."""

    def __init__(self, algorithm: Any, methods: set[str]) -> None:
        self._algorithm = algorithm
        self._methods = methods
        self.seconds = 0.0
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._algorithm, name)
        return self._timed(found) if name in self._methods else found

    def mean_ms(self) -> float:
        """Milliseconds a call."""
        return 1e3 * self.seconds / max(1, self.calls)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.process_time()
            try:
                return method(*arguments)
            finally:
                self.seconds += time.process_time() - start
                self.calls += 1

        return timed


def curves(config: Config, step: int) -> dict[str, float]:
    """An error that falls with the epochs to a floor, faster with a larger rate; size follows the widths."""
    point = _ENCODING.encode(config)
    size = float(point[4:8].mean())
    floor = 0.3 * (1 - size) ** 2 + float(np.square(point[:4] - 0.4).mean())
    return {"error": floor + (1 - floor) * (1 + step) ** -(0.4 + float(point[8])), "size": size}


def measure(searcher: str, trials: int, workers: int, seed: int) -> dict[str, float]:
    """The figures of one run under faults."""
    method = Timed(make_searcher(searcher, SPACE, GOALS, seed=seed, initial=(), identity=identity), {"ask"})
    judge = Timed(make_scheduler("successive_halving", GOALS, max_step=MAX_STEP), {"decide"})
    faults = Faults(crash_rate=0.01, straggler_rate=0.02, late_rate=0.1, delay=1.0, seed=seed)
    problem = Problem(
        curves, MAX_STEP, cost=lambda c, step: 1 + _ENCODING.parameters[4].encode(c["widths"]["width_0"])
    )
    start, wall = time.process_time(), time.perf_counter()
    run = simulate(problem, method, judge, workers=workers, max_trials=trials, faults=faults)
    return {
        "decision_ms": judge.mean_ms(),
        "suggestion_ms": method.mean_ms(),
        "driver_ms_a_trial": 1e3 * (time.process_time() - start) / trials,
        "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "idle_share": run.idle / (workers * run.reports[-1].time),
        "unanswered": run.unanswered,
        "reports": len(run.reports),
        "finished": list(run.outcomes.values()).count("finished"),
        "seconds": time.perf_counter() - wall,
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print the figures and, with --json, end with them."""
    parser = arguments(__doc__, seeds=2)
    parser.add_argument("--trials", type=int, default=100_000, help="of the large run (default 100,000)")
    parser.add_argument("--workers", type=int, default=10_000, help="of the large run (default 10,000)")
    parser.add_argument("--suggested", type=int, default=2_000, help="trials of the default searcher")
    options = parser.parse_args(argv)
    figures = measure("random", options.trials, options.workers, options.seeds)
    default = measure(
        default_of("searcher"), options.suggested, max(1, options.suggested // 10), options.seeds
    )
    del default["max_rss_mb"]  # the process's, so the large run's too
    figures |= {f"default_{name}": value for name, value in default.items()}
    for name, value in figures.items():
        print(f"{name:32}{value:>14.3f}")
    if options.json:
        report(NAME, {name: round(value, 4) for name, value in figures.items()}, {})


if __name__ == "__main__":
    main()
