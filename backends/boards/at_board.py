"""What runs on the board: it does the job of a folder and leaves the result there.

It measures as the service does (service.py), with the same modules. What is the runtime's or the model's
fault is a result, "failed"; all else ends with a traceback and no result.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from raysearch.backends.base import Backend, Feed, MeasurementError, clock_of
from raysearch.backends.boards import folder as names
from raysearch.backends.measurement.lock import exclusive_device
from raysearch.backends.measurement.protocol import Inference, Protocol, measure, undisturbed
from raysearch.basics.failures import first_line


def main() -> None:
    """Do the job of the folder that the command line names."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / names.JOB).read_text(encoding="utf-8"))
    result: dict[str, Any]
    try:
        result = {"found": _WORK[job["what"]](_backend(job), job, folder)}
    except MeasurementError as error:
        result = {"failed": str(error)}
    partial = folder / (names.RESULT + ".part")
    partial.write_text(json.dumps({"id": job["id"], **result}), encoding="utf-8")
    os.replace(partial, folder / names.RESULT)


def _backend(job: dict[str, Any]) -> Backend:
    kind = getattr(import_module(job["module"]), job["class"])
    backend: Backend = kind(**job["options"])
    reason = backend.unavailable()
    if reason is not None and job["what"] != "describe":
        raise MeasurementError(f"target {backend.name!r} is not available there: {reason}")
    return backend


def _describe(backend: Backend, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    reason = backend.unavailable()
    there = reason is None
    return {
        "unavailable": reason,
        "version": backend.version() if there else None,
        "device": backend.device() if there else None,
        "weight_bits": _weight_bits(backend) if there else None,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _weight_bits(backend: Backend) -> int | None:
    """None where a package that finds it out is not there."""
    try:
        return backend.weight_bits()
    except ModuleNotFoundError:
        return None


def _measure(backend: Backend, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    (inputs,) = names.read_batches(folder / names.INPUTS)
    example = dict(zip(job["inputs"], inputs, strict=True))
    with _refusals(backend, "model"):
        candidate = _runner(backend, folder / job["model"], example)
    reference = candidate
    if job["reference"] is not None:
        with _refusals(backend, "reference"):
            reference = _runner(backend, folder / job["reference"], example)
    with exclusive_device(), undisturbed(backend.threads):
        figures = asdict(measure(candidate, reference, Protocol(**job["protocol"]), clock_of(backend)))
    return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in figures.items()}


def _run(backend: Backend, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    batches = names.read_batches(folder / names.INPUTS)
    with _refusals(backend, "model"):
        model = backend.load(folder / job["model"])
        with exclusive_device():  # nobody measures meanwhile
            outputs = [tuple(model(dict(zip(job["inputs"], b, strict=True)))) for b in batches]
    names.write_batches(folder / names.OUTPUTS, outputs)
    return {"outputs": names.digest(folder / names.OUTPUTS)}


_WORK: dict[str, Callable[[Backend, dict[str, Any], Path], dict[str, Any]]] = {
    "describe": _describe,
    "measure": _measure,
    "run": _run,
}


def _runner(backend: Backend, path: Path, example: Feed) -> Inference:
    infer = backend.load(path).runner(example)
    infer()  # what cannot run fails here, not in the middle of a measurement
    return infer


@contextmanager
def _refusals(backend: Backend, what: str) -> Iterator[None]:
    """What a runtime raises has no common base class."""
    try:
        yield
    except MeasurementError:
        raise
    except Exception as error:
        raise MeasurementError(f"{backend.name} cannot run the {what}: {first_line(error)}") from error
