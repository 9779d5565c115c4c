"""ONNX Runtime on an NVIDIA GPU, by its providers for CUDA, TensorRT and TensorRT for RTX."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raysearch.backends.base import Array, Feed, Form, MeasurementError
from raysearch.backends.energy.meters import Metered
from raysearch.backends.runtimes.nvidia import gpu as gpus
from raysearch.basics.failures import first_line

_CUDA, _TENSORRT, _RTX = "onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx"
_PROVIDERS = {
    _CUDA: "CUDAExecutionProvider",
    _TENSORRT: "TensorrtExecutionProvider",
    _RTX: "NvTensorRTRTXExecutionProvider",
}
_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"  # the module of the provider that is a library of its own
_TENSORRT_LIBRARIES = (10, 11, 9, 8)  # the numbers that its library has had in its name
_NVIDIA = 0x10DE  # PCI's number of the vendor


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeGpu(Metered):
    """The targets "onnxruntime-cuda", "onnxruntime-tensorrt" and "onnxruntime-tensorrt-rtx".

    The CUDA provider computes Q/DQ and then the layer in float: fewer bits make a file small, not fast. The
    other two compile what they can with TensorRT, in integers from the signed form.

    Args:
        runtime: which of them.
        name: of the target.
        gpu: the GPU's index.
        batch: inputs at a time.
        dtype: in which what is not in integers is computed: "fp32", "fp16" or "bf16".
    """

    runtime: str = _CUDA
    name: str = _CUDA
    gpu: int = 0
    batch: int = 1
    dtype: str = "fp32"
    threads: ClassVar[int] = 1
    channel_multiple: ClassVar[int] = 16
    sparse: ClassVar[frozenset[str]] = frozenset()
    finalists_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        gpus.check_options(self.name, self.gpu, self.dtype)

    @property
    def package(self) -> str:
        """The distribution that holds ONNX Runtime itself."""
        return "onnxruntime" if self.runtime == _RTX else "onnxruntime-gpu"

    @property
    def form(self) -> Form:
        """TensorRT wants signed integers."""
        return "uint8" if self.runtime == _CUDA else "int8"

    @property
    def integers(self) -> frozenset[int]:
        """None by CUDA's kernels; those below 8 bits as 8 by TensorRT's."""
        return frozenset() if self.runtime == _CUDA else frozenset({2, 4, 8})

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        if find_spec("onnxruntime") is None:
            return f"onnxruntime is not installed: pip install {self.package}"
        if self.runtime == _RTX and find_spec(_PLUGIN) is None:
            return "the provider is not installed: pip install onnxruntime-ep-nv-tensorrt-rtx"
        try:
            import onnxruntime as ort

            if self.runtime != _RTX and _PROVIDERS[self.runtime] not in ort.get_available_providers():
                return (
                    f"the onnxruntime that is installed has no {_PROVIDERS[self.runtime]}: pip uninstall "
                    "onnxruntime, then pip install onnxruntime-gpu; only one of the two can be there"
                )
            return _trial(self.runtime, self.gpu) or super().unavailable()
        except ImportError as error:
            return f"onnxruntime fails to import: {first_line(error)}"

    def weight_bits(self) -> int:
        """All 8: products are summed in float or in 32 bits."""
        return 8

    def version(self) -> str:
        """ONNX Runtime's version, behind it that of what compiles: TensorRT, or the provider for RTX."""
        import onnxruntime as ort

        if self.runtime == _RTX:
            return f"{ort.__version__}+{import_module(_PLUGIN).__version__}"
        if self.runtime == _TENSORRT and _trial(_TENSORRT, self.gpu) is None:
            return f"{ort.__version__}+{_tensorrt()}"
        return str(ort.__version__)

    def device(self) -> str:
        """The GPU's model name, where torch or the provider knows it."""
        return gpus.name_of(self.gpu) if gpus.missing(self.gpu) is None else f"NVIDIA GPU {self.gpu}"

    def clock(self) -> Callable[[], int]:
        """The wall's: a call waits for the device, on which the model runs and not in this thread."""
        return time.perf_counter_ns

    def load(self, path: Path, *, optimize: bool = True) -> OnnxGpuModel:
        """A session on an ONNX file.

        Args:
            path: the ``.onnx`` file.
            optimize: False turns ONNX Runtime's own graph optimisations off; a provider may have others.

        Raises:
            MeasurementError: ONNX Runtime refuses the file, goes on without the provider, or the file holds
                quantisers that TensorRT does not compute as they are written.
        """
        try:
            session = _session(self._content(path), self.runtime, self.gpu, self.dtype, optimize)
        except Exception as error:  # its exceptions share no public base class
            raise MeasurementError(f"{self.name} cannot load {path.name}: {first_line(error)}") from error
        return OnnxGpuModel(session, ("gpu", self.gpu, _NVIDIA))

    def _content(self, path: Path) -> bytes | str:
        """The file's path, or what it holds in the precision that was asked for.

        Raises:
            MeasurementError: see ``load``.
        """
        if self.runtime == _CUDA and self.dtype == "fp32":
            return str(path)
        import onnx

        from raysearch.backends.runtimes.nvidia.precision import in_precision
        from raysearch.backends.runtimes.nvidia.signed import objection

        model = onnx.load(str(path))
        if self.runtime != _CUDA and (reason := objection(model)):
            raise MeasurementError(f"{reason}: give a file of the form int8")
        if self.dtype == "fp32":
            return str(path)
        return bytes(in_precision(model, self.dtype).SerializeToString())


class OnnxGpuModel:
    """A session whose inputs and outputs can lie on the GPU.

    Args:
        session: ONNX Runtime's.
        place: where: kind of device, index and vendor, as an OrtValue is made with.
    """

    def __init__(self, session: Any, place: tuple[Any, ...]) -> None:
        self._session, self._place = session, place

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch, on the CPU."""
        return tuple(self._session.run(None, dict(feed)))

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, inputs and outputs on the device; it returns when the device is done."""
        import onnxruntime as ort

        session, binding = self._session, self._session.io_binding()
        outputs = zip(session.get_outputs(), self(feed), strict=True)  # from which their shapes are known

        def on_device(array: Array) -> Any:
            return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *self._place)

        for name, array in feed.items():
            binding.bind_ortvalue_input(name, on_device(array))
        for output, array in outputs:
            binding.bind_ortvalue_output(output.name, on_device(array))

        def run() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run


def _session(content: bytes | str, runtime: str, gpu: int, dtype: str, optimize: bool) -> Any:
    """A session that runs on the provider.

    Raises:
        MeasurementError: ONNX Runtime goes on without the provider.
    """
    import onnxruntime as ort

    _load_libraries(runtime)
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors reach the caller as exceptions; warnings would clutter a table
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    provider = _PROVIDERS[runtime]
    if runtime == _RTX:
        options.add_provider_for_devices([_rtx_devices()[gpu]], {})
        session = ort.InferenceSession(content, options)
    else:
        chosen = (provider, _settings(runtime, gpu, dtype))
        session = ort.InferenceSession(content, options, providers=[chosen, "CPUExecutionProvider"])
    if provider not in session.get_providers():
        raise MeasurementError(f"ONNX Runtime goes on without the {provider}: a library of it is missing")
    return session


def _load_libraries(runtime: str) -> None:
    """Load what a provider needs and pip has put where no loader looks, by importing what brought it."""
    with suppress(ImportError, OSError):  # there are other ways to install them
        import torch  # noqa: F401 CUDA's own and cuDNN, in a build for CUDA
    if runtime == _TENSORRT:
        with suppress(ImportError, OSError):
            import tensorrt  # noqa: F401


def _settings(runtime: str, gpu: int, dtype: str) -> dict[str, str]:
    """The provider's options: no TF32 in CUDA's float32; and TensorRT in the types that the file has."""
    if runtime == _CUDA:
        return {"device_id": str(gpu), "use_tf32": "0"}
    flags = {"trt_int8_enable": True, "trt_fp16_enable": dtype == "fp16", "trt_bf16_enable": dtype == "bf16"}
    return {"device_id": str(gpu), **{name: str(int(on)) for name, on in flags.items()}}


@cache
def _tensorrt() -> str:
    """The version of the TensorRT that the provider has loaded into this process, as its library says it.

    ONNX Runtime does not tell, and what pip has installed need not be what the loader found.
    """
    for number in _TENSORRT_LIBRARIES:
        with suppress(OSError):
            library = ctypes.CDLL(f"libnvinfer.so.{number}", mode=getattr(os, "RTLD_NOLOAD", 0))
            return f"tensorrt{library.getInferLibVersion()}"
    return "tensorrt"


@cache
def _rtx_devices() -> list[Any]:
    """The GPUs that the provider for RTX finds, whose library is registered with ONNX Runtime once."""
    import onnxruntime as ort

    provider = _PROVIDERS[_RTX]
    ort.register_execution_provider_library(provider, import_module(_PLUGIN).get_library_path())
    return [device for device in ort.get_ep_devices() if device.ep_name == provider]


@cache
def _trial(runtime: str, gpu: int) -> str | None:
    """Why not even the smallest model runs on a provider, in ONNX Runtime's words; None where it does."""
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "trial", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    try:
        if runtime == _RTX and gpu >= len(_rtx_devices()):
            return f"the provider finds {len(_rtx_devices())} GPUs here, and none with the index {gpu}"
        session = _session(model.SerializeToString(), runtime, gpu, "fp32", optimize=True)
        session.run(None, {"x": np.ones(1, np.float32)})
    except Exception as error:  # its exceptions share no public base class
        return f"{_PROVIDERS[runtime]} does not work here: {first_line(error)}"
    return None
