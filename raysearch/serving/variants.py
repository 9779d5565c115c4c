"""A front's variants as what can be served: where their files are, how good they are, and their sessions.

All that serving reads from a run folder, or from a folder that ``StudyResult.export`` wrote, is read here.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.backends.base import MeasurementError
from raysearch.backends.onnx_safety import check_file
from raysearch.backends.runtimes.onnxruntime import OnnxModel, OnnxRuntimeCpu
from raysearch.basics.failures import MissingFile, UserError, failure
from raysearch.record.choices import compared_by
from raysearch.record.results import RunResult
from raysearch.record.writing import FILE_NAME, is_run
from raysearch.serving.inputs import Port
from raysearch.storage import Place, folder_of, read

_MODEL, _TABLE, _SAID = "model.onnx", "front.csv", "front.json"
_BATCHES = (1, 2, 4, 8)
_WORTH = 1.1  # times faster an example: what a batch must bring
_BUDGET = 0.2  # seconds a variant and size of batch
_TYPES = {
    "float": "float32", "float16": "float16", "double": "float64", "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True)
class Servable:
    """A variant that can be served.

    Attributes:
        name: of the variant.
        file: its ONNX file.
        quality: its figure in the front's metric.
    """

    name: str
    file: Path
    quality: float


@dataclass(frozen=True)
class Front:
    """Variants of one task.

    Attributes:
        variants: the worst in the metric first.
        metric: what ``quality`` is.
    """

    variants: tuple[Servable, ...]
    metric: str = "accuracy"


def read_front(front: Front | RunResult | str | Place | Sequence[Servable]) -> Front:
    """The servable variants of a front.

    Args:
        front: a run folder, a folder that ``StudyResult.export`` wrote, a result, or variants of one's own,
            whose quality is the better the higher it is.

    Raises:
        MissingFile: the folder, or a variant's file, is not there.
        UserError: there are no variants, or one has no figure to compare it by.
    """
    if isinstance(front, Front):
        found = front
    elif isinstance(front, RunResult):
        found = _of_run(front)
    elif isinstance(front, str | Place):
        place = folder_of(front)
        found = _of_run(RunResult(place)) if is_run(place) else _of_export(place)
    else:
        found = Front(tuple(sorted(front, key=lambda variant: variant.quality)))
    if not found.variants:
        raise UserError(f"{front} holds no variant to serve: its front is empty")
    for variant in found.variants:
        if not variant.file.is_file():
            raise MissingFile(f"variant {variant.name} cannot be served: {variant.file} does not exist")
        if not np.isfinite(variant.quality):
            raise UserError(f"variant {variant.name} cannot be compared: its {found.metric} is not known")
    return found


def _of_run(result: RunResult) -> Front:
    metric = compared_by(result.record)
    name = next(iter(result.record.metrics))
    sign = -1 if result.goals.higher_is_better(name) is False else 1
    found = [
        _servable(t.name, result.folder / "variants" / t.name / _MODEL, t.values.get(metric, np.nan))
        for t in result.front_records
    ]
    return Front(tuple(sorted(found, key=lambda variant: sign * variant.quality)), metric)


def _servable(name: str, place: Place, quality: float) -> Servable:
    """A variant whose file is on this machine; what comes from a bucket stays as long as the variant."""
    if isinstance(place, Path):
        return Servable(name, place, quality)
    try:
        content = read(place)
    except FileNotFoundError:
        raise MissingFile(f"variant {name} cannot be served: {place} does not exist") from None
    folder = Path(tempfile.mkdtemp(prefix="raysearch-serve-"))
    variant = Servable(name, folder / _MODEL, quality)
    weakref.finalize(variant, shutil.rmtree, folder, ignore_errors=True)
    variant.file.write_bytes(content)
    return variant


def _of_export(folder: Place) -> Front:
    table = folder / _TABLE
    try:
        rows = pd.read_csv(BytesIO(read(table)), dtype={"trial": str})
    except FileNotFoundError:
        raise MissingFile(f"{folder} is no front to serve: it has neither {FILE_NAME} nor {_TABLE}") from None
    metric, higher_is_better = _compared_by(folder, rows)
    if "trial" not in rows or metric not in rows:
        raise UserError(f"{table} names no trial, or no metric of a task: export the front anew")
    found = [
        _servable(str(name), folder / str(name) / _MODEL, float(value))
        for name, value in zip(rows["trial"], rows[metric], strict=True)
    ]
    sign = 1 if higher_is_better else -1
    return Front(tuple(sorted(found, key=lambda variant: sign * variant.quality)), metric)


def _compared_by(folder: Place, rows: pd.DataFrame) -> tuple[str, bool]:
    """The column by which an exported front's variants are compared, and whether more of it is better."""
    try:
        said = json.loads(read(folder / _SAID))
        return said["metric"], said["higher_is_better"] is not False
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / _SAID} names no metric: export the front anew") from None
    columns = [str(column) for column in rows]  # of a front without front.json, as they were once exported
    tested = [c.removeprefix("test_") for c in columns if c.startswith("test_") and "/" not in c]
    known = [c for c in columns if c in tested] or [c for c in columns if c == "accuracy"]
    if not known or rows.empty:
        return "", True
    name, test = known[0], f"test_{known[0]}"
    falls = rows[name].iloc[0] >= rows[name].iloc[-1]  # the best in the first objective stood first
    return test if test in columns and rows[test].notna().all() else name, name == "accuracy" or bool(falls)


@dataclass(frozen=True)
class Loaded:
    """A variant in a session of ONNX Runtime.

    Attributes:
        variant: which.
        ports: the network's inputs.
        open_batch: whether any examples may be run as one batch: not if a batch's size is fixed, or examples'
            sizes vary.
        memory_mb: by how much this process grew as it was loaded and first run, at least its file.
        model: runs it; from one thread at a time or several.
    """

    variant: Servable
    ports: tuple[Port, ...]
    open_batch: bool
    memory_mb: float
    model: OnnxModel

    def run(self, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> list[tuple[NDArray[Any], ...]]:
        """The outputs of examples that are run as one batch, an example each, without the batch's axis."""
        if len(feeds) == 1:
            outputs = self.model(feeds[0])
        else:
            outputs = self.model({p.name: np.concatenate([f[p.name] for f in feeds]) for p in self.ports})
        return [tuple(output[place] for output in outputs) for place in range(len(feeds))]

    def example(self) -> dict[str, NDArray[Any]]:
        """A batch of one, all zeros; axes that vary have size 16."""
        return {p.name: np.zeros((1, *(size or 16 for size in p.shape)), p.dtype) for p in self.ports}


def load(variant: Servable, threads: int = 1) -> Loaded:
    """A session of a variant.

    Raises:
        UserError: its file is no whole ONNX file, ONNX Runtime refuses it, or an input is of a type that
            cannot be sent; it takes no batch of one, or gives none.
    """
    check_file(variant.file)
    _begin(variant.file)
    _give_back()
    before = _resident_mb()
    try:
        model = OnnxRuntimeCpu(threads=threads).load(variant.file)
    except MeasurementError as error:
        raise UserError(f"variant {variant.name} cannot be served: {error}") from error
    declared = model.inputs()
    ports = tuple(_port(variant.name, *one) for one in declared)
    open_batch = all(not isinstance(shape[0], int) for _, shape, _ in declared)
    open_batch = open_batch and not any(None in port.shape for port in ports)
    loaded = Loaded(variant, ports, open_batch, 0.0, model)
    _try(loaded)
    memory = max(_resident_mb() - before, variant.file.stat().st_size / 1e6)
    return Loaded(variant, ports, open_batch, memory, model)


def _try(loaded: Loaded) -> None:
    """Run an example of zeros, and see whether what it gives can be told apart by example."""
    try:
        outputs = loaded.model(loaded.example())
    except Exception as error:  # of the runtime, whose classes share no base
        raise UserError(
            f"variant {loaded.variant.name} cannot be served: it does not run an example of zeros"
            f" ({failure(error)})"
        ) from error
    if any(output.shape[:1] != (1,) for output in outputs):
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise UserError(
            f"variant {loaded.variant.name} cannot be served: its outputs have the shapes {shapes}, and each"
            " should have the batch, here 1, in front"
        )


def measure(loaded: Sequence[Loaded]) -> list[dict[int, float]]:
    """The milliseconds of a batch, by variant and size; sizes by which no variant gains are left out.

    Every variant runs for a fraction of a second; a figure is the processor's time of its quietest run, since
    what other work adds is learnt while it serves.
    """
    sizes = _BATCHES if all(one.open_batch for one in loaded) else _BATCHES[:1]
    times = [{size: _milliseconds(one, size) for size in sizes} for one in loaded]
    kept = [s for s in sizes if s == 1 or any(row[1] * s / row[s] >= _WORTH for row in times)]
    return [{size: row[size] for size in kept} for row in times]


def _milliseconds(loaded: Loaded, size: int) -> float:
    feeds = [loaded.example()] * size
    taken: list[float] = []
    ending = time.perf_counter() + _BUDGET
    while len(taken) < 5 or (time.perf_counter() < ending and len(taken) < 50):
        start = time.thread_time_ns()  # one thread runs it, whose time no other work takes
        loaded.run(feeds)
        taken.append((time.thread_time_ns() - start) / 1e6)
    return min(taken)


def _begin(file: Path) -> None:
    """Have the runtime itself loaded, and what its first session makes: that is no variant's memory."""
    if not _begun:
        with contextlib.suppress(MeasurementError):  # said where the file is loaded
            OnnxRuntimeCpu().load(file)
        _begun.append(True)


_begun: list[bool] = []


def _give_back() -> None:
    """Return freed memory to the system: what a session takes of it would not be seen as growth."""
    with contextlib.suppress(OSError, AttributeError):  # not of the GNU C library
        ctypes.CDLL(None).malloc_trim(0)


def _port(variant: str, name: str, shape: Sequence[Any], kind: str) -> Port:
    text = kind.removeprefix("tensor(").removesuffix(")")
    if text not in _TYPES or not shape:
        raise UserError(f"variant {variant} cannot be served: its input {name!r} is {kind}, of shape {shape}")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise UserError(
            f"variant {variant} cannot be served: its input {name!r} is a batch of {shape[0]}; it should be"
            " open, or 1"
        )
    sizes = tuple(size if isinstance(size, int) else None for size in shape[1:])
    return Port(name, sizes, np.dtype(_TYPES[text]))


def _resident_mb() -> float:
    """What this process holds in memory; 0 where the system does not say it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
