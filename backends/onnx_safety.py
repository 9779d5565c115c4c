"""Whether an ONNX file from anywhere may be given to a runtime: what it refers to, and what it says it holds.

A runtime reads the files that a model names, and makes room for the sizes that it declares. What a graph
computes is not judged: an operator can still make a tensor of any size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from onnx import GraphProto, ModelProto, SparseTensorProto, TensorProto, ValueInfoProto

from raysearch.backends.structure import tensor_bytes
from raysearch.basics.failures import MissingFile, UserError

T = TypeVar("T", bound=Message)

_MOST_BYTES = 2**31 - 1
"""No protobuf file is larger; what a file only declares, and does not hold, has no reason to be either."""

_TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)


def check_file(path: Path) -> None:
    """Refuse an ONNX file that is none, is cut off, or asks for what is not its own.

    It is read without its external data, which is only looked for.

    Args:
        path: as the user gave it.

    Raises:
        MissingFile: there is no such file.
        UserError: it is no whole ONNX file; a tensor's external data is outside of the model's folder (an
            absolute path, "..", a symbolic link), is not there or too short; a tensor declares more values
            than the file holds; an input or a sparse tensor declares more than 2 GB.
    """
    model = _read(path)
    for tensor in _found(model, TensorProto):
        what = f"tensor {tensor.name!r} of {path.name}"
        size = _declared(tensor.data_type, tensor.dims, what)
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            _check_external(tensor, size, path.parent, what)
        elif size > (held := _held(tensor)):
            shape = list(tensor.dims)
            raise UserError(
                f"{what} declares {size} bytes, in shape {shape}, and the file holds {held} of them"
            )
    for sparse in _found(model, SparseTensorProto):
        what = f"sparse tensor {sparse.values.name!r} of {path.name}"
        _check_room(_declared(sparse.values.data_type, sparse.dims, what), what)
    for graph in _found(model, GraphProto):
        for value in graph.input:
            _check_input(value, f"input {value.name!r} of {path.name}")


def _read(path: Path) -> ModelProto:
    if path.is_dir():
        raise UserError(f"model {path} is a folder: give an ONNX file")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"model {path} is larger than 2 GB: keep its weights as external data")
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingFile(f"model {path} does not exist") from None
    except OSError as error:
        raise UserError(f"model {path} cannot be read: {error.strerror}") from None
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise UserError(f"model {path} is no ONNX file, or is cut off") from None
    missing = [name for name in ("ir_version", "graph", "opset_import") if not _has(model, name)]
    if missing or not model.graph.output:
        raise UserError(
            f"model {path} is no ONNX file, or is cut off: it has no {', '.join(missing) or 'output'}"
        )
    return model


def _has(model: ModelProto, name: str) -> bool:
    return any(field.name == name for field, _ in model.ListFields())


def _found(message: Message, kind: type[T]) -> Iterator[T]:
    """All messages of a kind in a message, wherever: in subgraphs, functions, attributes, training."""
    if isinstance(message, kind):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _found(inner, kind)


def _declared(data_type: int, dims: Iterable[int], what: str) -> int:
    """The bytes that a tensor declares.

    Raises:
        UserError: its type is unknown, or a dimension negative.
    """
    dims = list(dims)
    if any(dim < 0 for dim in dims):
        raise UserError(f"{what} has the shape {dims}: no dimension can be negative")
    try:
        return tensor_bytes(data_type, dims)
    except KeyError:
        raise UserError(f"{what} is of type {data_type}, which ONNX does not have") from None


def _held(tensor: TensorProto) -> int:
    """The bytes of values that a tensor holds, packed.

    An entry of a typed field is one value, half of a complex one, or a byte of those of 4 bits.
    """
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    entries = sum(len(getattr(tensor, name)) for name in _TYPED)
    size = tensor_bytes(tensor.data_type, [1])
    return entries * (size // 2 if tensor.data_type in _COMPLEX else size)


def _check_external(tensor: TensorProto, size: int, folder: Path, what: str) -> None:
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    path = _inside(folder, location, what)
    try:
        offset = int(said.get("offset") or 0)
        length = int(said.get("length") or size)
    except ValueError:
        raise UserError(f"{what} has external data at {said}: offset and length are no numbers") from None
    held = path.stat().st_size
    if offset < 0 or length < size or offset + length > held:
        raise UserError(
            f"{what} declares {size} bytes, and its external data {location!r} holds {held}, "
            f"from which it would read {length} from byte {offset} on"
        )


def _inside(folder: Path, location: str, what: str) -> Path:
    """The file of external data.

    Raises:
        UserError: it is not below the folder, or no file.
    """
    steps = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
    rooted = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
    leaves = not location.isprintable() or rooted or ".." in steps
    if not leaves:
        leaves = not (folder / location).resolve().is_relative_to(folder.resolve())
    if leaves:
        raise UserError(f"{what} has external data at {location!r}, outside of the model's folder: refused")
    if not (folder / location).is_file():
        raise UserError(f"{what} has external data at {location!r}, and the model's folder has no such file")
    return folder / location


def _check_input(value: ValueInfoProto, what: str) -> None:
    tensor = value.type.tensor_type
    if tensor.elem_type:
        dims = [max(1, dim.dim_value) for dim in tensor.shape.dim]  # one that varies has none
        _check_room(_declared(tensor.elem_type, dims, what), what)


def _check_room(size: int, what: str) -> None:
    if size > _MOST_BYTES:
        raise UserError(f"{what} declares {size} bytes: more than 2 GB are refused")
