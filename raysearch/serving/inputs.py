"""What a request brings, as arrays: checked by form, type and size before it is copied; nothing is unpickled.

NaN and infinities are refused: no network was evaluated on them, and what it would answer is no prediction.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError

Feed = dict[str, NDArray[Any]]

JSON, NPY = "application/json", "application/x-npy"
_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 512
_CHARACTERS = 32  # a number of JSON, with what parts it from the next
_MOST_VARYING = 2**18  # elements of an input whose axes vary


class BadInput(UserError):
    """A request that is not what the network takes; the sentence says what it should be."""


@dataclass(frozen=True)
class Port:
    """One input of a network.

    Attributes:
        name: as in the file.
        shape: of one example, without the batch; None where an axis may have any size.
        dtype: of its elements.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    @property
    def most(self) -> int:
        """The most elements that one example may have."""
        return _MOST_VARYING if None in self.shape else math.prod(size or 1 for size in self.shape)

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a shape is that of one example."""
        return (
            len(shape) == len(self.shape)
            and all(size > 0 and own in (None, size) for own, size in zip(self.shape, shape, strict=True))
            and math.prod(shape) <= self.most
        )

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} of shape ({sizes})"


def most_bytes(ports: Sequence[Port]) -> int:
    """The longest body that a request for one example may have."""
    return sum(port.most for port in ports) * _CHARACTERS + 4096


def parse(body: bytes, content_type: str, ports: Sequence[Port]) -> tuple[Feed, Any]:
    """One example, as a batch of one.

    Args:
        body: JSON, {"inputs": nested lists, or a mapping of them by input's name, "label": optional}; or the
            bytes of a .npy file where the network has one input. A batch axis of 1 may stand in front.
        content_type: "application/json" or "application/x-npy" ("application/octet-stream" too).
        ports: the network's inputs.

    Returns:
        Arrays (1, ...) by name, and the label that was sent beside them, or None.

    Raises:
        BadInput: in one sentence.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if len(body) > most_bytes(ports):
        raise BadInput(f"the body has {len(body)} bytes: one example takes at most {most_bytes(ports)}")
    if kind == JSON:
        return _of_json(body, ports)
    if kind in (NPY, "application/octet-stream"):
        if len(ports) != 1:
            names = ", ".join(port.name for port in ports)
            raise BadInput(f"the network has inputs {names}: send them as JSON, by name")
        return {ports[0].name: _of_npy(body, ports[0])}, None
    raise BadInput(f"content-type is {content_type!r}: send {JSON}, or {NPY}")


def checked(inputs: Any, ports: Sequence[Port]) -> Feed:
    """One example of a program's own, an array or a mapping of arrays by input, as a batch of one.

    Raises:
        BadInput: it is not what the network takes.
    """
    given = inputs if isinstance(inputs, Mapping) else {ports[0].name: inputs}
    if given.keys() != {port.name for port in ports}:
        raise BadInput(
            f"inputs are {', '.join(map(str, given))}: the network has {', '.join(p.name for p in ports)}"
        )
    feed = {}
    for port in ports:
        array = np.asarray(given[port.name])
        if array.dtype.kind not in "biuf" or not _takes(port, array.shape):
            raise BadInput(f"{port.name} is {array.dtype} of shape {array.shape}: it should be {port}")
        feed[port.name] = _cast(array, port)
    return feed


def _takes(port: Port, shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of one example, with or without a batch axis of 1 in front."""
    return port.takes(shape) or (shape[:1] == (1,) and port.takes(shape[1:]))


def _of_json(body: bytes, ports: Sequence[Port]) -> tuple[Feed, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the body is no JSON: {type(error).__name__}") from None
    if not isinstance(document, Mapping) or "inputs" not in document:
        raise BadInput('the body has no "inputs": send {"inputs": [...]}')
    given = document["inputs"]
    if not isinstance(given, Mapping):
        if len(ports) != 1:
            raise BadInput(f'"inputs" should map each of {", ".join(p.name for p in ports)} to its values')
        given = {ports[0].name: given}
    if given.keys() != {port.name for port in ports}:
        raise BadInput(
            f'"inputs" names {", ".join(map(str, list(given)[:8])) or "nothing"}: the network has'
            f" {', '.join(port.name for port in ports)}"
        )
    return {port.name: _of_lists(given[port.name], port) for port in ports}, document.get("label")


def _of_lists(values: Any, port: Port) -> NDArray[Any]:
    shape = _shape_of(values, len(port.shape) + 1)
    if shape is None or not _takes(port, shape):
        raise BadInput(f"{port.name} has {_said(shape)}: it should be {port}")
    numbers = _leaves(values, shape, port)
    if port.dtype.kind in "iu" and float not in set(map(type, numbers)):
        limits = np.iinfo(port.dtype)  # numpy would make floats of integers beyond int64
        if min(numbers) < limits.min or max(numbers) > limits.max:
            raise BadInput(f"{port.name} holds what {port.dtype} cannot: it should be {port}")
        return _cast(np.array(numbers, dtype=port.dtype).reshape(shape), port)
    array = np.array(numbers).reshape(shape)
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{port.name} holds a number beyond what {port.dtype} can")
    return _cast(array, port)


def _leaves(values: Any, shape: tuple[int, ...], port: Port) -> list[Any]:
    """The numbers of nested lists of a shape, in order.

    They are looked at before numpy sees them: of one word among them it would make as long a word of each.
    """
    row: list[Any] = [values]
    for size in shape:
        if any(type(inner) is not list or len(inner) != size for inner in row):
            raise BadInput(f"{port.name} has lists of several lengths: it should be {port}")
        row = list(chain.from_iterable(row))
    if not {int, float, bool}.issuperset(map(type, row)):
        raise BadInput(f"{port.name} holds what is no number: it should be {port}")
    return row


def _said(shape: Sequence[int] | None) -> str:
    return "lists nested too deeply" if shape is None else f"the shape {tuple(shape)}"


def _shape_of(values: Any, deepest: int) -> tuple[int, ...] | None:
    """The shape that nested lists have by their first elements; None where they are nested deeper."""
    shape: list[int] = []
    while isinstance(values, list):
        if len(shape) == deepest:
            return None
        shape.append(len(values))
        values = values[0] if values else None
    return tuple(shape)


def _of_npy(body: bytes, port: Port) -> NDArray[Any]:
    """The array of a .npy file, whose header alone is read before its size is known to be right."""
    start, header = _npy_header(body)
    dtype, shape, fortran = header["descr"], header["shape"], header["fortran_order"]
    if fortran or not isinstance(dtype, str):
        raise BadInput("the .npy file should hold a plain array in C order")
    if not isinstance(shape, tuple) or not all(type(size) is int for size in shape):
        raise BadInput("the .npy file declares no shape")
    try:
        known = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):  # numpy reads it with rules of its own
        raise BadInput(f"the .npy file declares the type {dtype!r}: it should be {port}") from None
    if known != port.dtype or not _takes(port, shape):
        raise BadInput(f"the .npy file holds {known} of shape {shape}: it should be {port}")
    if len(body) - start != math.prod(shape) * known.itemsize:
        raise BadInput(f"the .npy file is cut off or too long: it should be {port}")
    return _cast(np.frombuffer(body, dtype=known, offset=start).reshape(shape), port)


def _npy_header(body: bytes) -> tuple[int, dict[str, Any]]:
    """Where the data begin, and what the header says."""
    wrong = BadInput("the body is no .npy file")
    if body[:6] != _MAGIC or len(body) < 12 or body[6] not in (1, 2, 3):
        raise wrong
    width = 2 if body[6] == 1 else 4
    length = int.from_bytes(body[8 : 8 + width], "little")
    start = 8 + width + length
    if length > _LONGEST_HEADER or start > len(body):
        raise wrong
    try:
        header = ast.literal_eval(body[8 + width : start].decode("latin1").strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise wrong from None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise wrong
    return start, header


def _cast(array: NDArray[Any], port: Port) -> NDArray[Any]:
    """A batch of one in the network's own type; numbers that it cannot hold are refused."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadInput(f"{port.name} holds NaN or an infinity: every number should be finite")
    if port.dtype.kind == "b" and ((array != 0) & (array != 1)).any():
        raise BadInput(f"{port.name} holds what is neither true nor false: it should be {port}")
    if port.dtype.kind in "iu" and not _holds(np.iinfo(port.dtype), array):
        raise BadInput(f"{port.name} holds what {port.dtype} cannot: it should be {port}")
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(array, dtype=port.dtype)
    if port.dtype.kind == "f" and array.dtype != port.dtype and not np.isfinite(cast).all():
        raise BadInput(f"{port.name} holds a number beyond what {port.dtype} can")
    return cast if cast.ndim > len(port.shape) else cast[None]


def _holds(limits: Any, array: NDArray[Any]) -> bool:
    """Whether an integer type has all of an array's numbers."""
    if array.dtype.kind == "f":  # which has the largest integers themselves not, but the power of two behind
        whole = bool((array == np.floor(array)).all())
        return whole and bool(((array >= float(limits.min)) & (array < float(int(limits.max) + 1))).all())
    return bool(((array >= limits.min) & (array <= limits.max)).all())
