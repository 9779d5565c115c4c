"""What a network that inputs may leave early takes: if an input leaves, if not, and over data."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from raysearch.backends import spec_of
from raysearch.backends.base import Backend, Feed
from raysearch.backends.measurement.remote import connect
from raysearch.metrics import MEAN_LATENCY, TEST
from raysearch.trainables.data.batches import batches
from raysearch.trainables.exits.files import EARLY, LATE, ONE, with_rule
from raysearch.trainables.exits.rule import ALWAYS, NEVER
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.setup import Measure
from raysearch.trainables.task import Task

_INPUTS = 512  # of the test split that are timed one by one


def measure_both_ways(
    measure: Measure, target: Backend, path: Path, example: Feed, *, again: bool = False
) -> dict[str, Any]:
    """Measure one file with rules by which no input leaves, and by which every one does.

    Args:
        measure: has a model file measured.
        target: where.
        path: of the network as one file, whatever its rule.
        example: a batch of one input.
        again: measure past the cache.

    Returns:
        The measurement of an input that is run to the end, the latency of one that leaves early beside it:
        "early_ms", and the relative half-width of its interval, "early_noise".
    """
    model = onnx.load(str(path))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for rule in (ALWAYS, NEVER):
            file = Path(folder) / path.name
            onnx.save(with_rule(model, rule), str(file))
            found.append(measure(target, file, example, again=again))
    early, whole = found
    return {**whole, "early_ms": early["latency_ms"], "early_noise": early.get("noise", 0.0)}


def measure_over_data(service: str, target: Backend, folder: Path, task: Task) -> dict[str, Any]:
    """Have both forms of a variant timed over inputs of the test split, one by one.

    Args:
        service: the name of the measurement service's actor.
        target: where.
        folder: of the variant.
        task: gives the inputs, the first of the split.

    Returns:
        See ``MeasurementService.over_data``.
    """
    model, *cascade = ((folder / name).read_bytes() for name in (ONE, EARLY, LATE))
    inputs, _ = next(batches(task.test, _INPUTS, collate=task.collate))
    return connect(service).over_data(spec_of(target), model, cascade, feed_of(inputs))


def over_data_figures(measured: Mapping[str, Any]) -> dict[str, float]:
    """The mean latency over inputs of the test split, by its metric's key, where it was measured."""
    if "over_data" not in measured:
        return {}
    mean = float(measured["over_data"]["one_file"]["mean_ms"])
    return {f"{TEST}{MEAN_LATENCY}/{measured['target']}": mean}


def share_that_leaves(target: Backend, folder: Path, task: Task) -> float:
    """The share of the test split that leaves a variant early, as its first file decides on a target."""
    early = target.load(folder / EARLY)
    left = [early(feed_of(inputs))[1] for inputs, _ in batches(task.test, 256, collate=task.collate)]
    return float(np.concatenate(left).mean())
