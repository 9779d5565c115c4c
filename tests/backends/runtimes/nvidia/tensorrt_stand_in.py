"""As much of TensorRT's Python bindings as raysearch uses, on the CPU: ONNX Runtime computes underneath.

It has the classes, methods, properties, parameters and flags that the adaptor may use, and no others: any
other name, attribute or argument fails here. ``test_bindings.py`` holds it against the real bindings,
wherever they can be imported. Of how they behave it has what the adaptor deals with: a parser that refuses
operators, profiles, networks that cannot be built, timings of another version, contexts that refuse shapes.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

__version__ = "10.3.0"
LACKING = "DeformConv"
"""An operator that the parser refuses."""
UNBUILDABLE = "Det"
"""An operator that it takes, and of which no engine can be built."""
built: list[dict[str, Any]] = []
"""What each engine was built with."""


def enqueue(stream: int, work: Callable[[], None]) -> None:
    """How work gets onto a stream; a stand-in of CUDA puts its own here."""
    work()


class _Strict:
    """Without attributes that its class does not declare."""

    __slots__ = ()


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    FP8 = 6
    BF16 = 7
    INT64 = 8


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class BuilderFlag(IntEnum):
    TF32 = 7


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None: ...

    def log(self, severity: Severity, msg: str) -> None: ...


class IHostMemory(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class Dims(_Strict):
    __slots__ = ("_sizes",)

    def __init__(self, shape: Sequence[int]) -> None:
        self._sizes = tuple(shape)

    def __iter__(self) -> Iterator[int]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)


class ITensor(_Strict):
    __slots__ = ("_value",)

    def __init__(self, value: onnx.ValueInfoProto) -> None:
        self._value = value

    @property
    def name(self) -> str:
        return str(self._value.name)

    @property
    def shape(self) -> Dims:
        sizes = self._value.type.tensor_type.shape.dim
        return Dims([d.dim_value if d.HasField("dim_value") else -1 for d in sizes])


class INetworkDefinition(_Strict):
    __slots__ = ("_model",)

    def __init__(self) -> None:
        self._model = onnx.ModelProto()

    @property
    def num_inputs(self) -> int:
        return len(self._model.graph.input)

    def get_input(self, index: int) -> ITensor:
        return ITensor(self._model.graph.input[index])


class ParserError(_Strict):
    __slots__ = ("_desc", "_node")

    def __init__(self, desc: str, node: onnx.NodeProto | None = None) -> None:
        self._desc, self._node = desc, node or onnx.NodeProto()

    def desc(self) -> str:
        return self._desc

    def node_name(self) -> str:
        return str(self._node.name or (self._node.output or [""])[0])

    def node_operator(self) -> str:
        return str(self._node.op_type)


class OnnxParser(_Strict):
    __slots__ = ("_errors", "_network")

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        assert isinstance(logger, ILogger)
        self._network, self._errors = network, list[ParserError]()

    def parse(self, model: bytes, path: str | None = None) -> bool:
        read = onnx.ModelProto.FromString(model)
        refused = [node for node in read.graph.node if node.op_type == LACKING]
        self._errors = [ParserError("no importer is registered for it", node) for node in refused]
        self._network._model = read
        return not refused

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class IOptimizationProfile(_Strict):
    __slots__ = ("_shapes",)

    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        assert all(isinstance(dims, Dims) for dims in (min, opt, max))
        self._shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache(_Strict):
    __slots__ = ("_timings", "_version")

    def __init__(self, version: str, timings: int) -> None:
        self._version, self._timings = version, timings

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps([self._version, self._timings]).encode())


class IBuilderConfig(_Strict):
    __slots__ = ("_cache", "_flags", "_pools", "_profile")

    def __init__(self) -> None:
        self._flags, self._pools = {BuilderFlag.TF32}, dict[MemoryPoolType, int]()
        self._cache: ITimingCache | None = None
        self._profile: IOptimizationProfile | None = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._pools[MemoryPoolType(pool)] = pool_size

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(BuilderFlag(flag))

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        if any(a > b or b > c for s in profile._shapes.values() for a, b, c in zip(*s, strict=True)):
            return -1
        self._profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if not serialized_timing_cache:
            return ITimingCache(__version__, 0)
        try:
            return ITimingCache(*json.loads(serialized_timing_cache))
        except ValueError:
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._version != __version__ and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder(_Strict):
    __slots__ = ("_log",)

    def __init__(self, logger: ILogger) -> None:
        self._log = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        model, profile = network._model, config._profile
        shapes = profile._shapes if profile else {}
        fixed = {v.name for v in model.graph.input if min(ITensor(v).shape, default=0) >= 0}
        reason = None
        if any(node.op_type == UNBUILDABLE for node in model.graph.node):
            reason = f"could not find any implementation for {UNBUILDABLE}"
        elif {v.name for v in model.graph.input} - fixed - set(shapes):
            reason = "network has dynamic inputs, but no optimization profile has been defined"
        if reason:
            self._log.log(ILogger.Severity.ERROR, reason)
            return None
        assert config._cache is not None
        known, config._cache._timings = config._cache._timings, config._cache._timings + 1
        built.append({"shapes": shapes, "flags": config._flags, "pools": config._pools, "timings": known})
        return IHostMemory(json.dumps([shapes, model.SerializeToString().hex()]).encode())


class Runtime(_Strict):
    __slots__ = ("_log",)

    def __init__(self, logger: ILogger) -> None:
        self._log = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        return ICudaEngine(serialized_engine)


class ICudaEngine(_Strict):
    __slots__ = ("_model", "_session", "_shapes")

    def __init__(self, plan: bytes) -> None:
        self._shapes, model = json.loads(plan)
        self._model = onnx.ModelProto.FromString(bytes.fromhex(model))
        exact = ort.SessionOptions()  # fused integer operators overflow on processors without VNNI
        exact.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(bytes.fromhex(model), exact, providers=["CPUExecutionProvider"])

    @property
    def _values(self) -> list[Any]:  # outputs first: an engine may have them in any order
        return [*self._session.get_outputs(), *self._session.get_inputs()]

    def _value(self, name: str) -> Any:
        return next(value for value in self._values if value.name == name)

    @property
    def num_io_tensors(self) -> int:
        return len(self._values)

    def get_tensor_name(self, index: int) -> str:
        return str(self._values[index].name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        inputs = {value.name for value in self._session.get_inputs()}
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        types = {"float": DataType.FLOAT, "float16": DataType.HALF, "int64": DataType.INT64}
        types |= {"uint8": DataType.UINT8, "bool": DataType.BOOL, "int32": DataType.INT32}
        return types[self._value(name).type[len("tensor(") : -1]]

    @property
    def device_memory_size_v2(self) -> int:
        return 3_000_000

    def create_execution_context(self) -> IExecutionContext | None:
        return IExecutionContext(self)


class IExecutionContext(_Strict):
    __slots__ = ("_addresses", "_engine", "_outputs", "_shapes")

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._addresses = engine, dict[str, int]()
        self._shapes, self._outputs = dict[str, tuple[int, ...]](), dict[str, tuple[int, ...]]()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        bounds = self._engine._shapes.get(name)
        declared = self._engine._value(name).shape
        if bounds:
            fits = all(low <= s <= high for low, _, high, s in zip(*bounds, shape, strict=True))
        else:
            fits = tuple(declared) == tuple(shape)
        if fits:
            self._shapes[name] = tuple(shape)
        return fits

    def infer_shapes(self) -> list[str]:
        zeros = {
            name: np.zeros(shape, _numpy_type(self._engine.get_tensor_dtype(name)))
            for name, shape in self._shapes.items()
        }
        values = self._engine._session.get_outputs()
        found = self._engine._session.run(None, zeros)
        self._outputs = {v.name: array.shape for v, array in zip(values, found, strict=True)}
        return []

    def get_tensor_shape(self, name: str) -> Dims:
        depends = [n for n in self._engine._model.graph.node if n.op_type == "NonZero" and name in n.output]
        return Dims([-1 if depends else size for size in self._outputs[name]])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory != 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        enqueue(stream_handle, self._run)
        return True

    def _run(self) -> None:
        feed = {name: self._array(name, shape) for name, shape in self._shapes.items()}
        values = self._engine._session.get_outputs()
        for value, array in zip(values, self._engine._session.run(None, feed), strict=True):
            self._array(value.name, array.shape)[...] = array

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        kind = np.dtype(_numpy_type(self._engine.get_tensor_dtype(name)))
        size = int(np.prod(shape)) * kind.itemsize
        held = (ctypes.c_char * size).from_address(self._addresses[name])
        return np.frombuffer(held, kind).reshape(shape)


def _numpy_type(dtype: DataType) -> Any:
    names = {DataType.FLOAT: "float32", DataType.HALF: "float16", DataType.INT64: "int64"}
    names |= {DataType.UINT8: "uint8", DataType.BOOL: "bool", DataType.INT32: "int32"}
    return names[dtype]
