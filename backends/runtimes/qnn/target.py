"""Qualcomm's Hexagon NPU by ONNX Runtime's plugin: on a device, or on x86 by Qualcomm's emulation of it."""

from __future__ import annotations

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
from raysearch.backends.runtimes.onnxruntime import OnnxModel
from raysearch.backends.runtimes.qnn.graph import (
    float_ends,
    known_shapes,
    name_nodes,
    numpy_type,
    of_shapes,
    widen_bytes,
)
from raysearch.basics.failures import first_line

_PROVIDER = "QNNExecutionProvider"
_X86 = ("x86_64", "AMD64")


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
    finalists_only: ClassVar[bool] = False

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
        name_nodes(model.graph)
        float_ends(model.graph)
        widen_bytes(model.graph)
        return QnnModel(model, self, path.name)


class QnnModel:
    """An ONNX file, compiled for the shapes that it is given."""

    def __init__(self, model: Any, target: QnnHtp, file: str) -> None:
        self._model, self._target, self._file = model, target, file
        self._types = {value.name: numpy_type(value) for value in model.graph.input}
        self._sessions: dict[tuple[tuple[int, ...], ...], Any] = {}
        if (shapes := known_shapes(model.graph, target.batch)) is not None:
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
        model = of_shapes(self._model, shapes).SerializeToString()
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


def _operator(kind: str, name: str) -> str:
    layer, _, output = name.partition("/")
    return f"{kind} (layer {layer!r})" if layer else f"{kind} ({output!r})"


def _culprit(text: str) -> str | None:
    """The operator that an error of ONNX Runtime is about."""
    found = re.search(r"Node '([^']*)' OpType:(\w+)", text)
    return _operator(found[2], found[1]) if found else None
