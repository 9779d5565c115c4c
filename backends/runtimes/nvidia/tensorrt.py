"""TensorRT on an NVIDIA GPU, from ONNX with signed quantisers, through its Python bindings and torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from raysearch.backends.base import Form, MeasurementError
from raysearch.backends.energy.meters import Metered
from raysearch.backends.runtimes.nvidia import gpu as gpus
from raysearch.backends.runtimes.nvidia.execution import TensorRtModel, on
from raysearch.basics.failures import UserError, first_line

_OLDEST = (10, 3)


@dataclass(frozen=True, kw_only=True)
class TensorRt(Metered):
    """The target "tensorrt".

    Args:
        runtime: "tensorrt".
        name: of the target.
        gpu: the GPU's index.
        batch: inputs at a time.
        dtype: in which what is not in integers is computed: "fp32" (without TF32), "fp16" or "bf16".
        workspace_mb: MiB that a kernel may use beside its tensors.
    """

    runtime: str = "tensorrt"
    name: str = "tensorrt"
    gpu: int = 0
    batch: int = 1
    dtype: str = "fp32"
    workspace_mb: int = 2048
    package: ClassVar[str] = "tensorrt"
    form: ClassVar[Form] = "int8"
    threads: ClassVar[int] = 1
    channel_multiple: ClassVar[int] = 16  # int8 products take sixteen bytes at a time
    integers: ClassVar[frozenset[int]] = frozenset({2, 4, 8})  # those below 8 bits as 8
    sparse: ClassVar[frozenset[str]] = frozenset()
    finalists_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        gpus.check_options(self.name, self.gpu, self.dtype)
        if type(self.workspace_mb) is not int or self.workspace_mb < 1:
            raise UserError(
                f"target {self.name!r}: workspace_mb is {self.workspace_mb!r}, give a whole number from 1 on"
            )

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        if find_spec("tensorrt") is None:
            return "tensorrt is not installed: pip install tensorrt-cu12, or tensorrt-cu13 for CUDA 13"
        try:
            found = self.version()
        except (ImportError, OSError) as error:  # its libraries, or the driver's
            return f"tensorrt fails to import: {first_line(error)}"
        if tuple(int(part) for part in found.split(".")[:2]) < _OLDEST:
            return f"tensorrt {found} is too old: raysearch needs {'.'.join(map(str, _OLDEST))} or later"
        return gpus.missing(self.gpu) or super().unavailable()

    def weight_bits(self) -> int:
        """All 8: products are summed in 32 bits."""
        return 8

    def version(self) -> str:
        """TensorRT's version."""
        import tensorrt as trt

        return str(trt.__version__)

    def device(self) -> str:
        """The GPU's model name."""
        return gpus.name_of(self.gpu)

    def clock(self) -> Callable[[], int]:
        """The device's own, since runners do not wait for it."""
        return gpus.device_clock(self.gpu)

    def load(self, path: Path, *, optimize: bool = True) -> TensorRtModel:
        """A model of an ONNX file; engines are built when it is run.

        Args:
            path: the ``.onnx`` file.
            optimize: makes no difference: TensorRT always compiles.

        Raises:
            MeasurementError: the file is none, holds quantisers that TensorRT does not compute as they are
                written, or has operators that it lacks.
        """
        import onnx

        from raysearch.backends.runtimes.nvidia.engine import Network
        from raysearch.backends.runtimes.nvidia.precision import in_precision
        from raysearch.backends.runtimes.nvidia.signed import objection

        try:
            model = onnx.load(str(path))
            if reason := objection(model):
                raise MeasurementError(f"{reason}: give a file of the form int8")
            with on(self.gpu):
                network = Network(in_precision(model, self.dtype), self.gpu, self.workspace_mb)
        except Exception as error:  # protobuf's, ONNX's and TensorRT's, each of another class
            raise MeasurementError(f"{self.name} cannot load {path.name}: {first_line(error)}") from error
        return TensorRtModel(network, self.gpu)
