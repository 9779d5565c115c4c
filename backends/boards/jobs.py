"""What is asked of a board: what it is, how fast a model is there, what a model answers there.

A job is a folder (folder.py) that a board brings back with a result in it. What is not whole is no result.
"""

from __future__ import annotations

import json
import math
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np

from raysearch import backends
from raysearch.backends.base import SUFFIXES, Array, Backend, DeviceLost, Feed, MeasurementError
from raysearch.backends.boards import folder as names
from raysearch.backends.boards.program import program
from raysearch.backends.measurement.protocol import Figures, Protocol
from raysearch.basics.failures import UserError, first_line

#: What a job may take on a board, in seconds: one that never ends holds up everybody else's.
LONGEST_S = 600
_CHUNK_BYTES = 64e6


class BoardLost(DeviceLost):
    """A board does not answer, or is cut off in the middle of a job."""


class Board(Interface):
    """A device that a job's folder can be brought to.

    Attributes:
        name: what messages call it.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    def perform(self, folder: Path) -> None:
        """Run the folder's program on the board, ``python raysearch.pyz FOLDER``, and bring its results back.

        Args:
            folder: the job; result.json and outputs.npz come into it.

        Raises:
            BoardLost: the board does not answer, lets nobody in, cannot run the program, or the connection
                was cut; in one sentence that says which.
            MeasurementError: the program was killed there before it had a result.
        """
        ...


def describe(board: Board, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a board is, and whether a runtime is there.

    Args:
        board: the board.
        spec: the runtime's name and its options: ``{"runtime": "onnxruntime-cpu"}``.

    Returns:
        "unavailable": why the runtime cannot be used there, None where it can; "python" and "machine" there.
        Where it can be used, else None: "version": the runtime's; "device": its name; "weight_bits": see
        ``Backend.weight_bits``, None also where a package that finds it out is missing there.

    Raises:
        UserError: the runtime or an option is unknown.
        MeasurementError: see ``Board.perform``.
    """
    with _job(spec, "describe") as (folder, job):
        return _perform(board, folder, job)


def measure(
    board: Board, spec: Mapping[str, Any], model: Path, reference: Path, example: Feed, protocol: Protocol
) -> Figures:
    """Measure a model against a reference on a board, as ``protocol.measure`` does here.

    Args:
        board: the board.
        spec: see ``describe``.
        model: a file of the runtime's form, whole in itself.
        reference: another, or the same path for the reference's own noise.
        example: the inputs of both by name.
        protocol: the settings.

    Raises:
        UserError: the runtime or an option is unknown, or an input holds no plain numbers.
        MeasurementError: the runtime refuses a model there, or see ``Board.perform``; there is no figure.
    """
    with _job(spec, "measure") as (folder, job):
        _take_model(folder, job, model, names.MODEL, "model")
        job["reference"] = None
        if reference != model:
            _take_model(folder, job, reference, names.REFERENCE, "reference")
        _take_inputs(folder, job, [example])
        job["protocol"] = protocol.to_dict()
        return _figures(board, _perform(board, folder, job))


def run(
    board: Board, spec: Mapping[str, Any], model: Path, batches: Iterable[Feed]
) -> Iterator[tuple[Array, ...]]:
    """What a model answers on a board, batch by batch.

    Batches travel together, as many as hold 64 MB: a runtime is not started for each.

    Args:
        board: the board.
        spec: see ``describe``.
        model: a file of the runtime's form, whole in itself.
        batches: its inputs by name, the same names in each.

    Raises:
        UserError: see ``measure``.
        MeasurementError: see ``measure``.
    """
    for chunk in _chunks(batches):
        with _job(spec, "run") as (folder, job):
            _take_model(folder, job, model, names.MODEL, "model")
            _take_inputs(folder, job, chunk)
            found = _perform(board, folder, job)
            yield from _outputs(board, folder, found, len(chunk))


def backend_of(spec: Mapping[str, Any]) -> tuple[Backend, dict[str, Any]]:
    """The backend that a board is to use, and the options that it is made with there.

    Args:
        spec: see ``describe``.

    Raises:
        UserError: the runtime or an option is unknown.
    """
    return backends.get(spec), {"name": spec["runtime"], **spec}


@contextmanager
def _job(spec: Mapping[str, Any], what: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder with the program in it, and the beginnings of its job.json."""
    backend, options = backend_of(spec)
    kind = type(backend)
    job: dict[str, Any] = {"id": secrets.token_hex(8), "what": what, "suffix": SUFFIXES[backend.form]}
    job |= {"module": kind.__module__, "class": kind.__qualname__, "options": options}
    with tempfile.TemporaryDirectory(prefix="raysearch-job-") as folder:
        (Path(folder) / names.PROGRAM).write_bytes(program(kind.__module__))
        yield Path(folder), job


def _take_model(folder: Path, job: dict[str, Any], path: Path, name: str, field: str) -> None:
    job[field] = name + job["suffix"]  # never the user's own file name
    shutil.copyfile(path, folder / job[field])


def _take_inputs(folder: Path, job: dict[str, Any], feeds: list[Feed]) -> None:
    job["inputs"] = list(feeds[0])
    try:
        names.write_batches(folder / names.INPUTS, ([feed[n] for n in job["inputs"]] for feed in feeds))
    except ValueError as error:
        raise UserError(f"inputs {job['inputs']} cannot be sent to a board: {first_line(error)}") from None


def _perform(board: Board, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """What the board found.

    Raises:
        MeasurementError: it says why it found nothing, or left no result of this job.
    """
    (folder / names.JOB).write_text(json.dumps(job), encoding="utf-8")
    board.perform(folder)
    try:
        result = json.loads((folder / names.RESULT).read_text(encoding="utf-8"))
        own = result["id"] == job["id"]
        failed, found = result.get("failed"), result.get("found")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MeasurementError(f"{board.name} gave back no result: {first_line(error)}") from None
    if not own:
        raise MeasurementError(
            f"{board.name} gave back the result of another job: bring the folder's own back"
        )
    if failed is not None:
        raise MeasurementError(f"{board.name}: {failed}")
    if not isinstance(found, dict):
        raise MeasurementError(f"{board.name} gave back a result that says nothing")
    return found


def _figures(board: Board, found: dict[str, Any]) -> Figures:
    """The figures of a result, all of them there and finite.

    Raises:
        MeasurementError: they are not.
    """
    try:
        values = {f.name: found[f.name] for f in fields(Figures)}
        numbers = [x for value in values.values() for x in (value if isinstance(value, list) else [value])]
        if not all(math.isfinite(number) for number in numbers) or not values["ratio"] > 0:
            raise ValueError("not all of them are finite")
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"{board.name} gave back no whole figures: {first_line(error)}") from None
    arrays: dict[str, Any] = {name: np.array(v) if isinstance(v, list) else v for name, v in values.items()}
    return Figures(**arrays)


def _outputs(board: Board, folder: Path, found: dict[str, Any], count: int) -> Iterator[tuple[Array, ...]]:
    path = folder / names.OUTPUTS
    try:
        if names.digest(path) != found["outputs"]:
            raise ValueError("the file is not whole")
        batches = names.read_batches(path)
        if len(batches) != count:
            raise ValueError(f"{len(batches)} batches of {count}")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise MeasurementError(f"{board.name} gave back no whole outputs: {first_line(error)}") from None
    yield from (tuple(batch) for batch in batches)


def _chunks(batches: Iterable[Feed]) -> Iterator[list[Feed]]:
    """The batches in lists of a bounded size, at least one in each."""
    chunk: list[Feed] = []
    size = 0
    for feed in batches:
        chunk.append(feed)
        size += sum(array.nbytes for array in feed.values())
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
