"""OpenVINO on Intel's and other x86 and Arm processors, and on Intel's GPUs and NPUs: the same ONNX file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raysearch.backends.base import (
    Array,
    Feed,
    Form,
    MeasurementError,
    cpu_clock,
    cpu_name,
)
from raysearch.backends.energy.meters import Metered
from raysearch.basics.failures import UserError, first_line

_DTYPES = ("f32", "bf16", "f16")
# The deepest product of the largest integers that 32 bits of float still hold exactly.
_DEPTH, _LARGEST, _WEIGHT = 16, 255, 127


@dataclass(frozen=True, kw_only=True)
class OpenVino(Metered):
    """The targets "openvino-cpu", "openvino-gpu" and "openvino-npu".

    Args:
        runtime: which of them.
        name: of the target.
        threads: of one inference, on a processor.
        batch: inputs at a time.
        dtype: in which what is not in integers is computed: "f32", "bf16" or "f16".
    """

    runtime: str = "openvino-cpu"
    name: str = "openvino-cpu"
    threads: int = 1
    batch: int = 1
    dtype: str = "f32"
    package: ClassVar[str] = "openvino"
    form: ClassVar[Form] = "uint8"
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset({2, 4, 8})  # those below 8 bits as 8
    sparse: ClassVar[frozenset[str]] = frozenset()
    finalists_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise UserError(f"target {self.name!r}: dtype is {self.dtype!r}, give {', '.join(_DTYPES)}")

    @property
    def branches(self) -> bool:
        """Whether it runs ONNX's ``If``: tried on processors alone."""
        return self._device == "CPU"

    @property
    def _device(self) -> str:
        return self.runtime.removeprefix("openvino-").upper()

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        if find_spec("openvino") is None:
            return 'openvino is not installed: pip install "raysearch[openvino]"'
        if self._device != "CPU":
            found = [name.split(".")[0] for name in _core().available_devices]
            if self._device not in found:
                return f"OpenVINO finds no {self._device} here, only {', '.join(found)}"
        return super().unavailable()

    def weight_bits(self) -> int:
        """8, or 7 where its sums of products of 8 bits were found to overflow."""
        return 7 if self._device == "CPU" and _sums_overflow() else 8

    def version(self) -> str:
        """OpenVINO's version."""
        return version("openvino")

    def device(self) -> str:
        """The model name of the processor, or what OpenVINO calls the device."""
        if self._device == "CPU":
            return cpu_name()
        return str(_core().get_property(self._device, "FULL_DEVICE_NAME"))

    def clock(self) -> Callable[[], int]:
        """The calling thread's on a processor with one thread, else the wall's."""
        return cpu_clock(self.threads) if self._device == "CPU" else time.perf_counter_ns

    def load(self, path: Path, *, optimize: bool = True) -> OpenVinoModel:
        """A model of an ONNX file.

        Args:
            path: the ``.onnx`` file.
            optimize: makes no difference: OpenVINO always compiles.

        Raises:
            MeasurementError: OpenVINO refuses the file.
        """
        try:
            model = _core().read_model(str(path))
            return OpenVinoModel(model, self._device, self._settings())
        except Exception as error:  # RuntimeError of many kinds, each of one long text
            raise MeasurementError(f"{self.name} cannot load {path.name}: {_reason(error)}") from error

    def _settings(self) -> dict[str, Any]:
        common = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.dtype}
        if self._device != "CPU":
            return common
        own = {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        return {**common, **own}


class OpenVinoModel:
    """An ONNX file as OpenVINO has read it; compiled for the shapes that it is given."""

    def __init__(self, model: Any, device: str, settings: Mapping[str, Any]) -> None:
        self._model, self._device, self._settings = model, device, settings
        self._any_batch = _core().compile_model(model, device, settings)

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch."""
        found = self._any_batch(dict(feed))
        return tuple(np.array(found[output]) for output in self._any_batch.outputs)

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, compiled for these very shapes, its inputs bound once."""
        fixed = self._model.clone()
        fixed.reshape({name: list(array.shape) for name, array in feed.items()})
        request = _core().compile_model(fixed, self._device, self._settings).create_infer_request()
        from openvino import Tensor

        # Copies of its own: what came from another process may be read alone, and OpenVINO refuses it.
        bound = {name: np.array(array, order="C") for name, array in feed.items()}
        for name, array in bound.items():
            request.set_tensor(name, Tensor(array, shared_memory=True))

        def run(kept: Mapping[str, Array] = bound) -> object:
            """The request knows the arrays' memory alone: they live as long as this function."""
            return request.infer()

        return run


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def _reason(error: BaseException) -> str:
    """The line of OpenVINO's text that says what is wrong, not where in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from src", "Check '"))]
    return said[0] if said else first_line(error)


@cache
def _sums_overflow() -> bool:
    """Whether a convolution of the largest integers comes out wrong on this processor.

    Without the VNNI instructions sums of two products are kept in 16 bits.
    """
    from onnx import TensorProto, helper, numpy_helper

    codes = np.full((_DEPTH, _DEPTH, 1, 1), _WEIGHT, np.int8)
    constants: dict[str, Any] = {
        "codes": codes,
        "one": np.array(1, np.float32),
        "ones": np.ones(_DEPTH, np.float32),
        "zero": np.array(0, np.uint8),
        "zeros": np.zeros(_DEPTH, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["codes", "ones", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["a", "w"], ["y"]),
    ]
    shape = [1, _DEPTH, 8, 8]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    read = _core().read_model(model.SerializeToString(), b"")
    compiled = _core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (product,) = compiled({"x": np.full(shape, _LARGEST, np.float32)}).values()
    return bool((product != _DEPTH * _LARGEST * _WEIGHT).any())
