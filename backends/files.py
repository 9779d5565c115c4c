"""A model file of anybody's, measured on a target by itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raysearch import backends
from raysearch.backends import Spec
from raysearch.backends.base import SUFFIXES, Backend, values_of
from raysearch.backends.inputs import example_of
from raysearch.backends.measurement.memory import peak_growth
from raysearch.backends.measurement.service import MeasurementService
from raysearch.backends.on_nodes import OnNodes
from raysearch.backends.onnx_safety import check_file
from raysearch.backends.sent import Sent
from raysearch.basics.failures import MissingFile, UserError


def measure_file(
    path: Path, target: Spec, shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, Any]:
    """Measure a model file on a target, in this process, with inputs made from what the file says of them.

    Args:
        path: of the form that the target wants.
        target: its name, or a mapping of "runtime" and options, such as "batch".
        shapes: of inputs, where the file leaves axes beside the batch open.

    Returns:
        The measurement, or the estimate, as a dictionary; beside it "values", its figures by metric, and
        "memory_mb", by how much this process grew at most while it loaded and ran the model, where the system
        says it.

    Raises:
        UserError: there is no such file, the target is unknown, not available here, wants another form of
            file, or says nothing of a file; or see ``example_of``.
        MeasurementError: the runtime cannot run the model.
    """
    backend = backends.get(target)
    if reason := backend.unavailable():
        raise UserError(f"target {backend.name} is not available: {reason}")
    if isinstance(backend, OnNodes):
        raise UserError(
            f"{backend.name} is on nodes of a cluster: a study measures there, and raysearch profile"
        )
    if not path.is_file():
        raise MissingFile(f"{path} does not exist: give a model file")
    if path.suffix != SUFFIXES[backend.form]:
        raise UserError(f"{backend.name} runs {SUFFIXES[backend.form]} files, not {path.name}")
    if not set(backend.figures.values()) - {"static"}:
        raise UserError(f"{backend.name} says nothing of time or memory: it only tells whether a model runs")
    if path.suffix == ".onnx":
        check_file(path)
    feed = example_of(path, backend.batch, shapes)
    service = MeasurementService()
    with peak_growth() as peak:
        known = service.measure(backends.spec_of(backend), _content(path), feed)
    names = {key.partition("/")[0]: value for key, value in values_of(known).items()}
    return {
        **known,
        "values": names,
        "memory_mb": peak.mb if "figures" not in known and _in_process(backend) else None,
    }


def _content(path: Path) -> bytes:
    """The file as one, with the weights that it keeps in others."""
    if path.suffix != ".onnx":
        return path.read_bytes()
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    if not any(tensor.external_data for tensor in model.graph.initializer):
        return path.read_bytes()
    onnx.load_external_data_for_model(model, str(path.parent))
    return bytes(model.SerializeToString())


def _in_process(backend: Backend) -> bool:
    """Whether a model runs in this process and its memory, which then tells the model's."""
    return not isinstance(backend, Sent) and backend.clock() in (time.thread_time_ns, time.perf_counter_ns)
