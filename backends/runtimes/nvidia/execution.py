"""TensorRT: a model at work, with tensors, streams and graphs of torch on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from raysearch.backends.base import Array, Feed, MeasurementError
from raysearch.backends.runtimes.nvidia import gpu as gpus
from raysearch.backends.runtimes.nvidia.engine import Engine, Network, Range, Shape, log

_BEFORE_CAPTURE = 3  # runs after which nothing is allocated any more


class TensorRtModel:
    """A model of which engines are built for the shapes that it is given.

    Attributes:
        engine: the one that was built last; None before.
    """

    def __init__(self, network: Network, gpu: int) -> None:
        self._network, self._gpu = network, gpu
        self._ranges: dict[str, Range] = {}
        self._wide: Engine | None = None
        self._context: Any = None
        self.engine: Engine | None = None

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch, from an engine that takes all shapes seen so far and batches from 1 on.

        Raises:
            MeasurementError: TensorRT cannot build it, or run it on this batch.
        """
        with on(self._gpu):
            self._widen(feed)
            bound = _Bound(self._wide, self._context, feed, self._gpu)  # type: ignore[arg-type]
            bound.enqueue()
            return tuple(bound.tensors[name].cpu().numpy() for name in self._network.outputs)

    def runner(self, feed: Feed) -> Callable[[], object]:
        """Enqueue one inference a call, on an engine for these very shapes and with inputs on the device.

        It does not wait: the target's clock does. Where TensorRT's work can be captured, a call launches it
        as one CUDA graph; branches and loops cannot. A call makes the target's stream that of its thread.

        Raises:
            MeasurementError: TensorRT cannot build an engine, or run it.
        """
        import torch

        stream = gpus.stream_of(self._gpu)
        with on(self._gpu):
            shapes = {name: tuple(array.shape) for name, array in feed.items()}
            self.engine = self._network.build({name: Range(s, s, s) for name, s in shapes.items()})
            bound = _Bound(self.engine, _context_of(self.engine), feed, self._gpu)
            for _ in range(_BEFORE_CAPTURE):
                bound.enqueue()
            stream.synchronize()
            step = _captured(bound, stream) or bound.enqueue

        def run() -> object:
            torch.cuda.set_stream(stream)  # a graph is launched on the current one
            return step()

        return run

    def _widen(self, feed: Feed) -> None:
        """Build a wider engine where a batch does not fit the one that there is."""
        ranges = {name: self._range(name, tuple(array.shape)) for name, array in feed.items()}
        if self._wide is None or ranges != self._ranges:
            self._wide = self.engine = self._network.build(ranges)
            self._context, self._ranges = _context_of(self._wide), ranges

    def _range(self, name: str, shape: Shape) -> Range:
        known = self._ranges.get(name)
        if known is not None and len(known.usual) == len(shape):
            low = tuple(map(min, known.smallest, shape))
            high = tuple(map(max, known.largest, shape))
            return Range(low, known.usual, high) if (low, high) != (known.smallest, known.largest) else known
        declared = self._network.inputs.get(name, ())
        from_one = bool(declared) and declared[0] < 0
        return Range((1, *shape[1:]) if from_one else shape, shape, shape)


class _Bound:
    """An engine's context with a tensor for each of its inputs and outputs."""

    def __init__(self, engine: Engine, context: Any, feed: Feed, gpu: int) -> None:
        import tensorrt as trt
        import torch

        self._context, self._stream = context, gpus.stream_of(gpu).cuda_stream
        handle, place = engine.handle, gpus.place(gpu)
        names = [handle.get_tensor_name(i) for i in range(handle.num_io_tensors)]
        inputs = [n for n in names if handle.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.tensors: dict[str, Any] = {}
        for name in inputs:
            kind = _torch_type(handle.get_tensor_dtype(name))
            self.tensors[name] = torch.tensor(feed[name]).to(place, kind).contiguous()
            if not context.set_input_shape(name, tuple(feed[name].shape)):
                raise MeasurementError(f"input {name!r} cannot have the shape {tuple(feed[name].shape)}")
        if unknown := context.infer_shapes():
            raise MeasurementError(f"the shapes of {', '.join(unknown)} are not known from the inputs'")
        for name in (n for n in names if n not in self.tensors):
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise MeasurementError(f"the size of output {name!r} depends on values: it cannot be bound")
            kind = _torch_type(handle.get_tensor_dtype(name))
            self.tensors[name] = torch.empty(shape, dtype=kind, device=place)
        for name, tensor in self.tensors.items():
            if not context.set_tensor_address(name, tensor.data_ptr()):
                raise MeasurementError(f"{name!r} cannot be bound: {log().last()}")

    def enqueue(self) -> None:
        """Put one inference behind what is on the stream already."""
        if not self._context.execute_async_v3(self._stream):
            raise MeasurementError(f"the engine does not run: {log().last()}")


def _context_of(engine: Engine) -> Any:
    context = engine.handle.create_execution_context()
    if context is None:
        raise MeasurementError(f"the engine has no room on the device: {log().last()}")
    return context


def _captured(bound: _Bound, stream: Any) -> Callable[[], object] | None:
    """One inference as a CUDA graph; None where it cannot be captured."""
    import torch

    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            bound.enqueue()
    except (RuntimeError, MeasurementError):
        stream.synchronize()
        return None

    def launch(kept: _Bound = bound) -> None:  # the graph does not keep its tensors alive
        graph.replay()

    return launch


@contextmanager
def on(gpu: int) -> Iterator[None]:
    """With this device and its stream as torch's own."""
    import torch

    with torch.cuda.device(gpu), torch.cuda.stream(gpus.stream_of(gpu)):
        yield


def _torch_type(dtype: Any) -> Any:
    """Torch's type of a TensorRT tensor.

    Raises:
        MeasurementError: torch has none.
    """
    import tensorrt as trt
    import torch

    known = {
        trt.DataType.FLOAT: torch.float32,
        trt.DataType.HALF: torch.float16,
        trt.DataType.BF16: torch.bfloat16,
        trt.DataType.INT8: torch.int8,
        trt.DataType.UINT8: torch.uint8,
        trt.DataType.INT32: torch.int32,
        trt.DataType.INT64: torch.int64,
        trt.DataType.BOOL: torch.bool,
    }
    if dtype not in known:
        raise MeasurementError(f"an input or output is of the type {dtype}, which torch does not have")
    return known[dtype]
