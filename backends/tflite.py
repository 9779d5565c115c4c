"""What a .tflite file says without being run: its operators, its structure, and what its weights weigh.

The file is a flatbuffer; the classes that read it come with LiteRT.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysearch.backends.base import MeasurementError
from raysearch.basics import extras
from raysearch.basics.failures import first_line

_EXTRA = "litert"
_OUTPUT = "serving_default_"  # how litert-torch begins the names of inputs and outputs
_INTEGERS = ("INT32", "INT64", "BOOL")


@dataclass(frozen=True)
class Operator:
    """An operator of a file.

    Attributes:
        name: the schema's, "CONV_2D", or the word of a custom one.
        outputs: the names of the tensors that it gives.
    """

    name: str
    outputs: tuple[str, ...]

    @property
    def layer(self) -> str:
        """The network's layer that it belongs to, where raysearch wrote the file, else its tensor's name.

        "" where it belongs to none, and where its tensor is an output.
        """
        first = self.outputs[0].split(";")[0] if self.outputs else ""
        if ":" in first:
            return first.rpartition(":")[0]
        return "" if first.startswith(_OUTPUT) else first


def operators(path: Path) -> list[Operator]:
    """The operators of a file's main graph, in their order.

    Raises:
        MeasurementError: it is no .tflite file.
    """
    model = _read(path)
    graph = model.subgraphs[0]
    return [
        Operator(_name(model, op), tuple(_text(graph.tensors[i].name) for i in op.outputs))
        for op in graph.operators
    ]


def structure_lines(path: Path) -> Iterator[str]:
    """One line for each input, operator and output, without names and without weights' values.

    Integers and booleans that are not rounded weights are structure (shapes, axes, pads), and so are float
    scalars.

    Raises:
        MeasurementError: it is no .tflite file.
    """
    model = _read(path)
    for graph in model.subgraphs:
        known: dict[int, str] = {-1: "-"}  # an input that is left out
        for index in graph.inputs:
            known[index] = str(len(known))
            yield f"input {_kind(graph.tensors[index])}"
        for op in graph.operators:
            read = [known.get(i) or _constant(model, graph.tensors[i]) for i in op.inputs]
            for index in op.outputs:
                known[index] = str(len(known))
            code = model.operatorCodes[op.opcodeIndex]
            given = [_kind(graph.tensors[i]) for i in op.outputs]
            yield f"{_name(model, op)} {code.version} {read} {given} {_options(op)}"
        yield f"outputs {[known.get(i) for i in graph.outputs]}"


def weights_bytes(path: Path) -> int:
    """What constants take that are no structure, each in the type that it is stored in.

    Raises:
        MeasurementError: it is no .tflite file.
    """
    model = _read(path)
    tensors = (t for graph in model.subgraphs for t in graph.tensors)
    weights = (t for t in tensors if _data(model, t) is not None and not _is_structural(t))
    return sum(math.ceil(math.prod(_shape(t)) * _bits(t) / 8) for t in weights)


def _read(path: Path) -> Any:
    """The file as objects of the schema's classes."""
    schema = extras.load("ai_edge_litert.schema_py_generated", _EXTRA)
    content = path.read_bytes()
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("it does not begin as one")
        return schema.ModelT.InitFromPackedBuf(content, 0)
    except Exception as error:  # of whatever lies at an offset that points nowhere
        raise MeasurementError(f"{path.name} is no .tflite file: {first_line(error)}") from error


def _names(enum: str) -> dict[int, str]:
    """The words of an enumeration of the schema, by number."""
    schema = extras.load("ai_edge_litert.schema_py_generated", _EXTRA)
    return {number: word for word, number in vars(getattr(schema, enum)).items() if word.isupper()}


def _name(model: Any, op: Any) -> str:
    code = model.operatorCodes[op.opcodeIndex]
    if code.customCode:
        return _text(code.customCode)
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _names("BuiltinOperator").get(number, str(number))


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""


def _type(tensor: Any) -> str:
    return _names("TensorType")[tensor.type]


def _bits(tensor: Any) -> int:
    word = _type(tensor)
    return 8 if word == "BOOL" else int("".join(filter(str.isdigit, word)) or 8)


def _shape(tensor: Any) -> list[int]:
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


def _steps(tensor: Any) -> int:
    """How many steps a tensor has: none where it is not rounded, several where each slice has its own."""
    scale = None if tensor.quantization is None else tensor.quantization.scale
    return 0 if scale is None else len(scale)


def _kind(tensor: Any) -> str:
    return f"{_type(tensor)} {_shape(tensor)} {_steps(tensor)}"


def _data(model: Any, tensor: Any) -> Any:
    """A constant's bytes; None for what is computed."""
    data = model.buffers[tensor.buffer].data
    return None if data is None or not len(data) else data


def _is_structural(tensor: Any) -> bool:
    return not _steps(tensor) and (_type(tensor) in _INTEGERS or not _shape(tensor))


def _constant(model: Any, tensor: Any) -> str:
    data = _data(model, tensor)
    value = "any" if data is None or not _is_structural(tensor) else bytes(data).hex()
    return f"{_kind(tensor)} {value}"


def _options(op: Any) -> list[tuple[str, str]]:
    """What an operator is told beside its tensors."""
    found = []
    for options in (op.builtinOptions, op.builtinOptions2):
        if options is not None:
            found += sorted((key, str(np.asarray(value).tolist())) for key, value in vars(options).items())
    return found
