"""A job's folder: what both sides call its files, and how arrays are kept in them.

job.json says what to do; result.json, written last, says what came of it or why nothing did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from raysearch.backends.base import Array

PROGRAM = "raysearch.pyz"
JOB = "job.json"
MODEL, REFERENCE = "model", "reference"
"""The models' files, before their suffix."""
INPUTS, OUTPUTS = "inputs.npz", "outputs.npz"
RESULT = "result.json"


def write_batches(path: Path, batches: Iterable[Sequence[Array]]) -> None:
    """Write batches of arrays.

    The arrays are named by their places: a network may call its input as it likes, and ``savez`` has names of
    its own.

    Raises:
        ValueError: one of them holds Python objects, or numbers of a type that is not numpy's own (bfloat16).
    """
    named = {f"{i}.{j}": array for i, batch in enumerate(batches) for j, array in enumerate(batch)}
    if unknown := {str(array.dtype) for array in named.values() if array.dtype.kind == "V"}:
        raise ValueError(f"numpy's files know no {', '.join(sorted(unknown))}")
    np.savez(path, allow_pickle=False, **named)


def read_batches(path: Path) -> list[list[Array]]:
    """The batches of a file, in their order.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: it is no such file, or not whole.
    """
    batches: list[list[Array]] = []
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            batch, place = (int(number) for number in name.split("."))
            if place == 0:
                batches.append([])
            if not batches or (batch, place) != (len(batches) - 1, len(batches[-1])):
                raise ValueError(f"array {name} is out of its order")
            batches[-1].append(file[name])
    return batches


def digest(path: Path) -> str:
    """A hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
