"""What every target must keep: a runtime on a device, ours or a user's."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np

from raysearch import backends
from raysearch.backends.base import (
    SUFFIXES,
    Array,
    Backend,
    Estimator,
    Feed,
    MeasurementError,
    Source,
)
from raysearch.metrics import PER_TARGET
from raysearch.testing.demands import demand


def check_target(
    target: backends.Spec, model: Path, feed: Feed, expected: Sequence[Array], *, tolerance: float = 1e-3
) -> None:
    """Check that a target keeps its contract.

    It is made of its own description again, also from a pickle; says which figures are known of it; computes
    what is expected, the same each time, on a batch and on each input alone; leaves inputs as they are;
    repeats an inference that was bound once; and refuses a broken file in a MeasurementError that names it.

    Args:
        target: its runtime's name, or a mapping of "runtime", "name" and options.
        model: a file of its form.
        feed: a batch of several inputs by name.
        expected: the outputs of that batch.
        tolerance: of outputs, relative to the largest expected value of each.

    Raises:
        AssertionError: it does not keep the contract.
    """
    backend = backends.get(target)
    _check_description(backend)
    reason = backend.unavailable()
    demand(reason is None, f"the target must be available here to be checked: {reason}")
    demand(bool(backend.version()) and bool(backend.device()), "version and device must be named")
    demand(backend.weight_bits() in range(1, 9), "weight_bits must be 1 to 8")
    _check_outputs(backend, model, feed, expected, tolerance)
    _check_figures(backend, model, feed)
    _check_refusal(backend, model)


def _check_description(backend: Backend) -> None:
    names = {field.name for field in fields(backend)}  # type: ignore[arg-type]
    demand({"runtime", "name"} <= names, "a target must be a dataclass with the fields runtime and name")
    spec = json.loads(json.dumps(backends.spec_of(backend)))
    demand(backends.get(spec) == backend, "spec_of must give plain JSON of which get makes an equal target")
    demand(pickle.loads(pickle.dumps(backend)) == backend, "a target must survive a pickle")
    demand(hash(backend) is not None, "a target must be hashable: make its dataclass frozen")
    demand(backend.form in SUFFIXES, f"form must be one of {', '.join(SUFFIXES)}")
    unknown = set(backend.figures) - set(PER_TARGET)
    demand(not unknown, f"figures must be metrics of a target ({', '.join(PER_TARGET)}), not {unknown}")
    sources = set(backend.figures.values()) - set(get_args(Source))
    demand(not sources, f"figures must come from {', '.join(get_args(Source))}, not {sources}")
    demand(backend.channel_multiple >= 1, "channel_multiple must be 1 or more")
    demand(backend.batch >= 1 and backend.threads >= 1, "batch and threads must be 1 or more")


def _check_outputs(
    backend: Backend, path: Path, feed: Feed, expected: Sequence[Array], tolerance: float
) -> None:
    feed = {name: _read_only(array) for name, array in feed.items()}
    model = backend.load(path)
    outputs = model(feed)
    demand(len(outputs) == len(expected), f"a model must give all {len(expected)} outputs")
    for found, wanted in zip(outputs, expected, strict=True):
        demand(found.shape == wanted.shape, f"an output must have the shape {wanted.shape}")
        apart = np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), math.ulp(1.0))
        demand(apart <= tolerance, f"an output is {apart:.2g} of its range from what is expected")
    again = model(feed)
    same = all(np.array_equal(a, b) for a, b in zip(outputs, again, strict=True))
    demand(same, "the same inputs must give the same outputs")
    alone = model({name: array[:1] for name, array in feed.items()})
    for found, wanted in zip(alone, outputs, strict=True):
        near = np.allclose(
            found, wanted[:1], rtol=0, atol=tolerance * max(float(np.abs(wanted).max()), 1e-30)
        )
        demand(near, "an input alone must give what it gives in a batch")


def _read_only(array: Array) -> Array:
    """A copy that may only be read, as arrays that come through Ray: inputs must be left as they are."""
    kept = array.copy()
    kept.setflags(write=False)
    return kept


def _check_figures(backend: Backend, path: Path, feed: Feed) -> None:
    one = {name: _read_only(np.repeat(array[:1], backend.batch, axis=0)) for name, array in feed.items()}
    measured = {metric for metric, source in backend.figures.items() if source != "static"}
    if isinstance(backend, Estimator):
        found, notes = backend.estimate(path, one)
        demand(set(found) == measured, f"estimate must give {', '.join(sorted(measured))}, and nothing else")
        positive = all(math.isfinite(value) and value > 0 for value in found.values())
        demand(positive, "an estimate's figures must be finite and above 0")
        demand(all(isinstance(note, str) for note in notes), "an estimate's notes must be texts")
    elif measured:
        run, clock = backend.load(path).runner(one), backend.clock()
        start = clock()
        for _ in range(3):
            run()
        demand(clock() >= start, "the clock must not run backwards")


def _check_refusal(backend: Backend, path: Path) -> None:
    broken = path.with_name(f"broken{SUFFIXES[backend.form]}")
    broken.write_bytes(b"this is no model")
    try:
        backend.load(broken)
    except MeasurementError as error:
        demand(broken.name in str(error), "what refuses a file must name it")
    else:
        raise AssertionError("a file that is no model must be refused by a MeasurementError")
    finally:
        broken.unlink()
