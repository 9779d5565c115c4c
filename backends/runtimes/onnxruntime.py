"""ONNX Runtime on the CPU: one thread, no spinning, CPU kernels only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raysearch.backends.base import Array, Feed, Form, MeasurementError, cpu_clock, cpu_name
from raysearch.backends.energy.meters import Metered
from raysearch.basics.failures import first_line


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeCpu(Metered):
    """The target "onnxruntime-cpu".

    One thread unless asked otherwise: two on a busy two-core machine are slower than one, and only what runs
    in the calling thread can be timed by that thread's CPU clock.
    """

    runtime: str = "onnxruntime-cpu"
    name: str = "onnxruntime-cpu"
    threads: int = 1
    batch: int = 1
    package: ClassVar[str] = "onnxruntime"
    form: ClassVar[Form] = "uint8"
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset({2, 4, 8})  # those below 8 bits as 8
    sparse: ClassVar[frozenset[str]] = frozenset()
    finalists_only: ClassVar[bool] = False
    branches: ClassVar[bool] = True

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        if find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: pip install onnxruntime"
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            reason = first_line(error)
            return f"onnxruntime fails to import ({reason}): pip install --force-reinstall onnxruntime"
        return super().unavailable()

    def weight_bits(self) -> int:
        """8, or 7 where its sums of products of 8 bits were found to overflow."""
        return 7 if sums_overflow() else 8

    def version(self) -> str:
        """ONNX Runtime's version, whichever of its distributions is installed."""
        import onnxruntime as ort

        return str(ort.__version__)

    def device(self) -> str:
        """The processor's model name."""
        return cpu_name()

    def clock(self) -> Callable[[], int]:
        """The calling thread's, or the wall's with several threads."""
        return cpu_clock(self.threads)

    def load(self, path: Path, *, optimize: bool = True) -> OnnxModel:
        """A session on an ONNX file.

        Args:
            path: the ``.onnx`` file.
            optimize: False turns every graph optimisation off, so that nothing is fused or reordered.

        Raises:
            MeasurementError: ONNX Runtime refuses the file.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = self.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = (
            3  # errors reach the caller as exceptions; warnings would clutter a live table
        )
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no public base class
            raise MeasurementError(f"{self.name} cannot load {path.name}: {first_line(error)}") from error
        return OnnxModel(session)


@cache
def sums_overflow() -> bool:
    """Whether ONNX Runtime, on this processor, gets the product of the largest integers wrong."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    depth, largest, weight = 16, 255, 127
    weights = numpy_helper.from_array(np.full((depth, depth), weight, np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "weights"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, depth])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, depth])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"x": np.full((1, depth), largest, np.uint8)})
    return bool((product != depth * largest * weight).any())


class OnnxModel:
    """An ONNX file in a session."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch."""
        return tuple(self._session.run(None, dict(feed)))

    def inputs(self) -> list[tuple[str, list[int | str | None], str]]:
        """What the file declares: names, shapes (axes that vary have a name, or none) and types."""
        return [(port.name, list(port.shape), port.type) for port in self._session.get_inputs()]

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call; inputs and outputs are bound once, so that copies are not timed."""
        binding = self._session.io_binding()
        for name, array in feed.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for output in self._session.get_outputs():
            binding.bind_output(output.name)
        session = self._session
        return lambda: session.run_with_iobinding(binding)
