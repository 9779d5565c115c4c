"""TensorRT: from an ONNX model to an engine. One way of building for 10.3 to 11.

Networks are strongly typed: precision is what the file's types and Q/DQ say. The flags for FP16 and INT8, and
calibrators, are gone in 11.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from onnx import ModelProto

from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.nvidia import gpu as gpus
from raysearch.basics.caching import cache_folder

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Range:
    """The shapes of one input that an engine takes: from the smallest to the largest, best at ``usual``."""

    smallest: Shape
    usual: Shape
    largest: Shape


@dataclass(frozen=True)
class Engine:
    """An engine, ready to run.

    Attributes:
        handle: TensorRT's.
        runtime: TensorRT's, which must live as long.
        size_mb: of the engine as it is stored, in 10^6 bytes.
        memory_mb: of what it needs on the device beside its weights, in 10^6 bytes.
    """

    handle: Any
    runtime: Any
    size_mb: float
    memory_mb: float


class Network:
    """A model as TensorRT's parser has read it, of which engines are built.

    Args:
        model: ONNX, in the precision that it is to run in.
        gpu: on which engines are built; the current device meanwhile.
        workspace_mb: what a kernel may use beside its tensors, in MiB.

    Raises:
        MeasurementError: the parser refuses it, with the operator that it refuses.
    """

    def __init__(self, model: ModelProto, gpu: int, workspace_mb: int) -> None:
        import tensorrt as trt

        self._gpu, self._workspace = gpu, workspace_mb * 2**20
        self.outputs = [value.name for value in model.graph.output]
        self._builder = trt.Builder(log())
        # 10 needs the flag; 11 knows no other networks and takes it.
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self._network = self._builder.create_network(flags)
        self._parser = trt.OnnxParser(self._network, log())  # it holds the weights
        if not self._parser.parse(model.SerializeToString()):
            raise MeasurementError(self._refusal())
        inputs = [self._network.get_input(i) for i in range(self._network.num_inputs)]
        self.inputs: dict[str, Shape] = {tensor.name: tuple(tensor.shape) for tensor in inputs}

    def _refusal(self) -> str:
        """What the parser says, with the operator that each error is about."""
        errors = [self._parser.get_error(i) for i in range(self._parser.num_errors)]
        found = [
            f"{error.node_operator()} {error.node_name()!r}: {error.desc()}"
            if error.node_operator()
            else error.desc()
            for error in errors
        ]
        return "; ".join(dict.fromkeys(found)) or "its parser refuses the file"

    def build(self, ranges: Mapping[str, Range]) -> Engine:
        """An engine for inputs of these shapes.

        Args:
            ranges: by input; of those whose shape is fixed they are not looked at.

        Raises:
            MeasurementError: no engine can be built, with what TensorRT logged of it.
        """
        import tensorrt as trt

        log().errors.clear()
        config = self._builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self._workspace)
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default; FP32 that is compared must be FP32
        self._set_profile(config, ranges)
        cache_file = _timing_cache(trt.__version__, gpus.name_of(self._gpu))
        _set_timing_cache(config, cache_file)
        plan = self._builder.build_serialized_network(self._network, config)
        if plan is None:
            raise MeasurementError(f"no engine can be built: {log().last()}")
        _keep_timing_cache(config, cache_file)
        runtime = trt.Runtime(log())
        handle = runtime.deserialize_cuda_engine(plan)
        if handle is None:
            raise MeasurementError(f"the engine cannot be loaded: {log().last()}")
        return Engine(handle, runtime, plan.nbytes / 1e6, handle.device_memory_size_v2 / 1e6)

    def _set_profile(self, config: Any, ranges: Mapping[str, Range]) -> None:
        import tensorrt as trt

        open_inputs = [name for name, shape in self.inputs.items() if min(shape, default=0) < 0]
        if not open_inputs:
            return
        profile = self._builder.create_optimization_profile()
        for name in open_inputs:
            shapes = ranges[name]
            dims = [trt.Dims(list(s)) for s in (shapes.smallest, shapes.usual, shapes.largest)]
            profile.set_shape(name, *dims)
        if config.add_optimization_profile(profile) < 0:
            raise MeasurementError(f"inputs of these shapes do not fit the network: {log().last()}")


@cache
def log() -> Any:
    """TensorRT's logger, one in a process as it demands: it shows nothing and keeps what went wrong."""
    import tensorrt as trt

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(msg)

        def last(self) -> str:
            return self.errors[-1] if self.errors else "TensorRT gives no reason"

    return Log()


def _timing_cache(version: str, device: str) -> Path | None:
    """Where timings of kernels are kept from one build to the next: the second of a like network is fast."""
    name, folder = f"{version}-{device}".replace(" ", "-").replace("/", "-"), cache_folder()
    return None if folder is None else folder / "tensorrt" / f"{name}.timings"


def _set_timing_cache(config: Any, file: Path | None) -> None:
    """Use what is kept; TensorRT refuses timings of another device or version, then it starts anew."""
    kept = b""
    if file is not None:
        with suppress(OSError):
            kept = file.read_bytes()
    cache_of_timings = config.create_timing_cache(kept)
    if cache_of_timings is None or not config.set_timing_cache(cache_of_timings, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_timing_cache(config: Any, file: Path | None) -> None:
    """Write it, whole or not at all; where that cannot be, the next build only takes longer."""
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(memoryview(config.get_timing_cache().serialize()))
        os.replace(part, file)
