"""Driver time of no-op trials on a local Ray: plain Tune, and ours with the same settings, in turn.

Purpose: the driver's part of the table ``decision_cost``, which states the settings, acceptance and limit.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import ray
from ray import tune

from raysearch.objectives import Goals
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.schedulers.tune import TuneScheduler
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.tune import TuneSearcher, parameters_of

GOALS = Goals.parse(["minimize error", "minimize size"])
SPACE = {
    "block": tune.choice(list("abcde")),
    "width": tune.randint(8, 65),
    "depth": tune.randint(1, 9),
    "lr": tune.loguniform(1e-4, 1e-1),
}
# Read by Tune at each fit: no CSV, JSON and TensorBoard loggers, a snapshot a day.
LEAN = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "86400"}


class NoOp(tune.Trainable):
    """Reports once, at once."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keeps the config."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The worker takes the next trial."""
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Made-up figures of the config."""
        size = self.config["width"] * self.config["depth"]
        return {"error": abs(self.config["lr"] - 1e-2) + 1 / size, "size": size, "done": True}


def driver_ms(sizes: Sequence[int], repetitions: int) -> Iterator[tuple[str, float]]:
    """CPU milliseconds a trial by size, and their ratio, as measured; the largest of several runs once."""
    with cluster():
        _plain(40)  # what is imported and started once is no trial's cost
        _ours(40)
        yield f"plain_defaults_ms@{sizes[0]}", _plain(sizes[0], lean=False)
        for n in sizes:
            turns = 1 if n == max(sizes) and len(sizes) > 1 else repetitions
            runs = np.array([[_plain(n), _ours(n)] for _ in range(turns)])
            plain, ours = np.median(runs, axis=0).tolist()
            yield from {
                f"plain_ms@{n}": plain,
                f"ours_ms@{n}": ours,
                f"driver_ratio@{n}": ours / plain,
            }.items()


def _plain(n: int, *, lean: bool = True) -> float:
    return _fit(n, tune.TuneConfig(num_samples=n, reuse_actors=True), SPACE, lean)


def _ours(n: int) -> float:
    config = tune.TuneConfig(
        num_samples=n,
        reuse_actors=True,
        search_alg=TuneSearcher(NSGA2(parameters_of(SPACE), GOALS), last_step=1),
        scheduler=TuneScheduler(SuccessiveHalving(GOALS, max_step=27)),
    )
    return _fit(n, config, None, lean=True)


def _fit(n: int, config: tune.TuneConfig, space: dict[str, Any] | None, lean: bool) -> float:
    """The driver's CPU milliseconds a trial."""
    with tempfile.TemporaryDirectory() as storage, mock.patch.dict(os.environ, LEAN if lean else {}):
        if not lean:
            for name in LEAN:
                os.environ.pop(name, None)
        run = tune.RunConfig(
            storage_path=storage,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        )
        trainable = tune.with_resources(NoOp, {"cpu": 1})
        tuner = tune.Tuner(trainable, param_space=space, tune_config=config, run_config=run)
        start = time.process_time()
        results = tuner.fit()
        taken = time.process_time() - start
    if len(results) != n or results.num_errors:
        raise RuntimeError(f"{len(results)} of {n} trials ran, {results.num_errors} with errors")
    return 1e3 * taken / n


def lean() -> Any:
    """While it lasts, Tune is set as a run of raysearch sets it."""
    return mock.patch.dict(os.environ, LEAN)


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Ray on this machine, of two cores, while it lasts."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
