"""Inputs for a model file, made from what it says of them: what a latency is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raysearch.backends.base import Array
from raysearch.backends.exported import load_program
from raysearch.basics.failures import UserError, first_line

_LARGEST_MB = 4096.0


def example_of(path: Path, batch: int, shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, Array]:
    """A batch of inputs for a model file, by name: normal floats, and zeros of every other type.

    Args:
        path: an ONNX file, an exported program (.pt2), or a .tflite file.
        batch: inputs; where the file fixes another number, its first axis is refused.
        shapes: of inputs, each with its batch, where the file leaves axes beside the batch open.

    Raises:
        UserError: an axis beside the batch is open and no shape says it, a shape is of no input or does not
            fit it, or the file is of another form.
    """
    if path.suffix == ".onnx":
        declared = _of_onnx(path)
    elif path.suffix == ".pt2":
        declared = _of_program(path)
    elif path.suffix == ".tflite":
        declared = _of_tflite(path)
    else:
        raise UserError(f"{path.name} is no model file: give one that ends in .onnx, .pt2 or .tflite")
    given = dict(shapes or {})
    if unknown := given.keys() - {name for name, _, _ in declared}:
        names = ", ".join(name for name, _, _ in declared)
        raise UserError(f"{path.name} has no input {sorted(unknown)[0]!r}: its inputs are {names}")
    rng = np.random.default_rng(0)
    feed = {}
    for name, sizes, dtype in declared:
        shape = _shape(path, name, sizes, batch, given.get(name))
        if np.prod(shape, dtype=float) * dtype.itemsize / 1e6 > _LARGEST_MB:
            raise UserError(f"input {name!r} of shape {shape} is larger than {_LARGEST_MB:g} MB")
        whole = rng.standard_normal(shape) if dtype.kind == "f" else np.zeros(shape)
        feed[name] = whole.astype(dtype)
    return feed


def _shape(
    path: Path, name: str, sizes: Sequence[int | None], batch: int, given: Sequence[int] | None
) -> tuple[int, ...]:
    """A whole shape of what a file declares, whose open axes are None."""
    open_batch = bool(sizes) and sizes[0] is None
    first = [batch, *sizes[1:]] if open_batch else list(sizes)
    if given is not None and open_batch and len(given) == len(sizes) and given[0] == 1:
        given = [batch, *given[1:]]  # the shape of one input, whatever the batch
    if given is not None:
        fits = len(given) == len(sizes) and all(s in (None, g) for s, g in zip(sizes, given, strict=True))
        if not fits:
            raise UserError(
                f"the shape {tuple(given)} does not fit input {name!r} of {path.name}: {_text(sizes)}"
            )
        first = list(given)
    if first and first[0] != batch:
        raise UserError(
            f"input {name!r} of {path.name} has a batch of {first[0]}, not {batch}: {_text(sizes)}"
        )
    if None in first:
        raise UserError(
            f"input {name!r} of {path.name} has open axes: {_text(sizes)}; say its shape, as {name}=1x..."
        )
    return tuple(int(size) for size in first if size is not None)


def _text(sizes: Iterable[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes)


def _of_onnx(path: Path) -> list[tuple[str, list[int | None], np.dtype[Any]]]:
    import onnx

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf's
        raise UserError(f"{path.name} is no ONNX file: {first_line(error)}") from error
    held = {tensor.name for tensor in graph.initializer}
    return [
        (
            value.name,
            [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim],
            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
        )
        for value in graph.input
        if value.name not in held
    ]


def _of_program(path: Path) -> list[tuple[str, list[int | None], np.dtype[Any]]]:
    import torch

    try:
        program = load_program(path)
    except Exception as error:  # zip, pickle and schema errors, each of another class
        raise UserError(f"{path.name} is no exported program: {first_line(error)}") from error
    names = program.graph_signature.user_inputs
    nodes = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [
        (
            str(name),
            [size if isinstance(size, int) else None for size in nodes[name].shape],
            torch.empty(0, dtype=nodes[name].dtype).numpy().dtype,
        )
        for name in names
        if name in nodes
    ]


def _of_tflite(path: Path) -> list[tuple[str, list[int | None], np.dtype[Any]]]:
    from raysearch.backends.runtimes.litert import inputs_of, interpreter

    ports = inputs_of(interpreter(path, "LiteRT"))
    # What the file rounds itself is given in float.
    return [
        (n, [*port.shape], np.dtype(np.float32) if port.scale else port.dtype) for n, port in ports.items()
    ]
