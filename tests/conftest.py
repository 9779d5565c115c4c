"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from raysearch.basics.garbage import hold_what_is_there

# A busy machine must not fail a property.
settings.register_profile("raysearch", deadline=None)
settings.load_profile("raysearch")

# Tune's extra loggers and usage reports have no place in tests; set before anything imports ray.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Tests run side by side, a process for each core: more threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAYSEARCH_CACHE"] = ""  # no test finds what another run has left
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Workers find the modules that stand beside the tests, as the tests themselves do.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
)


@pytest.fixture(autouse=True, scope="module")
def settled() -> None:
    """What earlier tests left alive, a million objects in the end, is not gone through again and again."""
    hold_what_is_there()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a disk or a bucket, unless it says so."""
    monkeypatch.setattr("raysearch.storage.waiting.PATIENCE_S", 0.0)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Ray cluster of two cores on this machine, shared by a session's tests and shut down after them."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=200 * 1024**2,
    )
    yield
    ray.shutdown()
