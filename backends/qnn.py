"""Qualcomm's Hexagon NPU by ONNX Runtime's plugin: on a device, or on x86 by Qualcomm's emulation of it."""

from __future__ import annotations

import copy
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raysearch.backends.base import TIMED, Array, Feed, Form, MeasurementError, Source, cpu_name
from raysearch.backends.onnxruntime import OnnxModel
from raysearch.basics.failures import first_line

_PROVIDER = "QNNExecutionProvider"
_X86 = ("x86_64", "AMD64")
# What an operator with integer weights may have between itself and the quantiser of its output.
_BETWEEN = ("Add", "Clip", "MatMul", "Relu", "Transpose")


@dataclass(frozen=True, kw_only=True)
class QnnHtp:
    """The target "qnn-htp".

    It says whether a network runs there, whole, and computes right; how fast, only on a device.

    Args:
        runtime: "qnn-htp".
        name: of the target.
        batch: inputs at a time: a model is compiled for this number, and more go one batch after another.
    """

    runtime: str = "qnn-htp"
    name: str = "qnn-htp"
    batch: int = 1
    threads: ClassVar[int] = 1
    package: ClassVar[str] = "onnxruntime-qnn"
    form: ClassVar[Form] = "uint8"
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset({2, 4, 8})  # those below 8 bits as 8
    sparse: ClassVar[frozenset[str]] = frozenset()

    @property
    def figures(self) -> Mapping[str, Source]:
        """On a device what is timed; the emulation's time says nothing."""
        return {"peak_memory_mb": "static"} if _emulated() else TIMED

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        if find_spec("onnxruntime_qnn") is None:
            return 'onnxruntime-qnn is not installed: pip install "raysearch[qnn]"'
        if not _devices():
            return f"onnxruntime-qnn finds no {'emulation' if _emulated() else 'Hexagon NPU'} here"
        return None

    def weight_bits(self) -> int:
        """All 8: sums are kept in 32 bits."""
        return 8

    def version(self) -> str:
        """The plugin's version."""
        return version("onnxruntime-qnn")

    def device(self) -> str:
        """The processor that it is part of, or that emulates it."""
        return f"Hexagon NPU{', emulated,' if _emulated() else ''} on {cpu_name()}"

    def clock(self) -> Callable[[], int]:
        """The wall's: the processor only waits."""
        return time.perf_counter_ns

    def load(self, path: Path, *, optimize: bool = True) -> QnnModel:
        """A model of an ONNX file.

        Args:
            path: the ``.onnx`` file.
            optimize: makes no difference: the network is always compiled.

        Raises:
            MeasurementError: it is no such file, or the NPU lacks an operator, which is named with its layer.
        """
        import onnx

        try:
            model = onnx.load(str(path))
        except Exception as error:  # protobuf's, whose class is not public
            raise MeasurementError(f"{self.name} cannot load {path.name}: {first_line(error)}") from error
        _name_nodes(model.graph)
        _float_ends(model.graph)
        _widen_bytes(model.graph)
        return QnnModel(model, self, path.name)


class QnnModel:
    """An ONNX file, compiled for the shapes that it is given."""

    def __init__(self, model: Any, target: QnnHtp, file: str) -> None:
        self._model, self._target, self._file = model, target, file
        self._types = {value.name: _numpy_type(value) for value in model.graph.input}
        self._sessions: dict[tuple[tuple[int, ...], ...], Any] = {}
        if (shapes := _known_shapes(model.graph, target.batch)) is not None:
            self._session(shapes)

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch, which is run in batches of the target's size."""
        size, count = self._target.batch, len(next(iter(feed.values())))
        parts = [self._run(feed, np.arange(start, start + size)) for start in range(0, count, size)]
        return tuple(np.concatenate(outputs)[:count] for outputs in zip(*parts, strict=True))

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, with inputs and outputs bound once."""
        given = self._typed(feed)
        return OnnxModel(self._session(tuple(array.shape for array in given.values()))).runner(given)

    def _run(self, feed: Feed, rows: Array) -> Any:
        """The outputs of these rows; after the last, it is repeated."""
        part = self._typed({name: array[np.minimum(rows, len(array) - 1)] for name, array in feed.items()})
        return self._session(tuple(array.shape for array in part.values())).run(None, part)

    def _typed(self, feed: Feed) -> dict[str, Array]:
        return {name: array.astype(self._types[name], copy=False) for name, array in feed.items()}

    def _session(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        if shapes not in self._sessions:
            self._sessions[shapes] = self._compile(shapes)
        return self._sessions[shapes]

    def _compile(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4  # what it would log is raised
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.add_provider_for_devices(_devices()[:1], _provider_options())
        model = _of_shapes(self._model, shapes).SerializeToString()
        try:
            session = ort.InferenceSession(model, options, enable_fallback=0)
        except Exception as error:  # its exceptions share no public base class
            raise self._refusal(_culprit(str(error)) or first_line(error)) from error
        parts = session.get_provider_graph_assignment_info()
        left = [node for part in parts if part.ep_name != _PROVIDER for node in part.get_nodes()]
        if left:
            own = [node for node in left if not node.op_type.endswith("Linear")]  # others stand around them
            raise self._refusal(", ".join(_operator(node.op_type, node.name) for node in own or left))
        return session

    def _refusal(self, what: str) -> MeasurementError:
        return MeasurementError(f"{self._target.name} cannot run {self._file}: the NPU refuses {what}")


def _emulated() -> bool:
    return platform.machine() in _X86


@cache
def _devices() -> list[Any]:
    """What the plugin, which is registered once a process, finds."""
    import onnxruntime as ort
    import onnxruntime_qnn

    ort.register_execution_provider_library(_PROVIDER, onnxruntime_qnn.get_library_path())
    found = [device for device in ort.get_ep_devices() if device.ep_name == _PROVIDER]
    kinds = ort.OrtHardwareDeviceType
    return [d for d in found if d.device.type == (kinds.CPU if _emulated() else kinds.NPU)]


def _provider_options() -> dict[str, str]:
    """All on the NPU, floats as float16; in bursts, where it is timed."""
    import onnxruntime_qnn

    common = {
        "backend_path": onnxruntime_qnn.get_qnn_htp_path(),
        "enable_htp_fp16_precision": "1",
        "offload_graph_io_quantization": "0",
    }
    # The emulation is of one chip: Snapdragon 8 Gen 3, the first without whose number it computes in float32.
    return common | ({"soc_model": "57"} if _emulated() else {"htp_performance_mode": "burst"})


def _known_shapes(graph: Any, batch: int) -> tuple[tuple[int, ...], ...] | None:
    """The inputs' shapes for a batch, where no other axis varies."""
    shapes = []
    for value in graph.input:
        axes = list(value.type.tensor_type.shape.dim)[1:]
        if any(not axis.HasField("dim_value") for axis in axes):
            return None
        shapes.append((batch, *(axis.dim_value for axis in axes)))
    return tuple(shapes)


def _of_shapes(model: Any, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """A copy whose inputs have these shapes; those of all else follow from them."""
    fixed = copy.deepcopy(model)
    for value, shape in zip(fixed.graph.input, shapes, strict=True):
        for axis, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            axis.dim_value = size
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        for axis in value.type.tensor_type.shape.dim:
            axis.Clear()
    return fixed


def _float_ends(graph: Any) -> None:
    """Take the integers out of weights of operators whose output is not quantised, such as a head's.

    The NPU multiplies integers only into integers. With weights in float, rounded as before, it takes such
    an operator in float16.
    """
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in graph.initializer}
    held = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    readers = _readers(graph)
    for name, source in held.items():
        ends = [node for node in readers[name] if node and not _in_integers(node, readers)]
        if ends:
            value = _dequantized(source, constants)
            graph.initializer.append(numpy_helper.from_array(value, f"{name}_float"))
        for node in ends:
            node.input[:] = [f"{name}_float" if each == name else each for each in node.input]
        if len(ends) == len(readers[name]):
            graph.node.remove(source)


def _widen_bytes(graph: Any) -> None:
    """Take inputs of bytes as int32: the NPU's cast of uint8 to floats gives 1 for all but 0."""
    from onnx import TensorProto

    readers = _readers(graph)
    for value in graph.input:
        users = readers.get(value.name, [])
        kind = value.type.tensor_type
        if kind.elem_type == TensorProto.UINT8 and all(user and user.op_type == "Cast" for user in users):
            kind.elem_type = TensorProto.INT32


def _numpy_type(value: Any) -> Any:
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def _readers(graph: Any) -> dict[str, list[Any]]:
    """The operators that read each tensor; of an output of the network the outside, as None."""
    found: dict[str, list[Any]] = {name: [] for node in graph.node for name in node.output}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            found.setdefault(name, []).append(node)
    for output in graph.output:
        found[output.name].append(None)
    return found


def _in_integers(node: Any, readers: Mapping[str, list[Any]]) -> bool:
    """Whether only quantisers read what comes of an operator; the outside does not count as one."""
    users = [user for name in node.output for user in readers[name]]
    return all(
        user
        and (user.op_type == "QuantizeLinear" or (user.op_type in _BETWEEN and _in_integers(user, readers)))
        for user in users
    )


def _dequantized(node: Any, constants: Mapping[str, Any]) -> Array:
    """What a DequantizeLinear of constants, without a zero point other than 0, gives."""
    from onnx import numpy_helper

    codes, step = (numpy_helper.to_array(constants[name]).astype(np.float32) for name in node.input[:2])
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    shape = [-1 if place == axis % codes.ndim else 1 for place in range(codes.ndim)] if step.ndim else []
    found: Array = codes * step.reshape(shape)
    return found


def _name_nodes(graph: Any) -> None:
    """Name each operator by the layer whose weights it reads, so that it can be told where it is refused."""
    layers = {
        constant.name: constant.name.rpartition(".")[0]
        for constant in graph.initializer
        if re.search(r"\.(weight|bias)\w*$", constant.name)
    }
    for node in graph.node:
        layer = next((layers[name] for name in node.input if name in layers), "")
        node.name = f"{layer}/{node.output[0]}"
        if node.op_type in ("DequantizeLinear", "Transpose") and layer:
            layers[node.output[0]] = layer


def _operator(kind: str, name: str) -> str:
    layer, _, output = name.partition("/")
    return f"{kind} (layer {layer!r})" if layer else f"{kind} ({output!r})"


def _culprit(text: str) -> str | None:
    """The operator that an error of ONNX Runtime is about."""
    found = re.search(r"Node '([^']*)' OpType:(\w+)", text)
    return _operator(found[2], found[1]) if found else None
