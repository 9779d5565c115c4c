"""LiteRT (formerly TensorFlow Lite) on the CPU, with XNNPACK's kernels: the runtime of phones, one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from raysearch.backends.base import Array, Feed, Form, MeasurementError, cpu_clock, cpu_name
from raysearch.backends.energy.meters import Metered
from raysearch.basics import extras
from raysearch.basics.failures import first_line
from raysearch.basics.quiet import silent

EXTRA = "litert"
Kernels = Literal["xnnpack", "builtin", "reference"]
_RESOLVERS: dict[Kernels, str] = {
    "xnnpack": "AUTO",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}


@dataclass(frozen=True, kw_only=True)
class LiteRtCpu(Metered):
    """The target "litert-cpu".

    Args:
        runtime: "litert-cpu".
        name: of the target.
        threads: how many one inference uses. More than one cannot be timed by the calling thread's CPU clock.
    """

    runtime: str = "litert-cpu"
    name: str = "litert-cpu"
    threads: int = 1
    batch: ClassVar[int] = 1  # that the file is written for
    package: ClassVar[str] = "ai-edge-litert"
    form: ClassVar[Form] = "litert"
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset({2, 4, 8})  # those below 8 bits as 8
    sparse: ClassVar[frozenset[str]] = frozenset()
    finalists_only: ClassVar[bool] = False

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        return missing("ai_edge_litert", EXTRA) or super().unavailable()

    def clock(self) -> Callable[[], int]:
        """The calling thread's, or the wall's with several threads."""
        return cpu_clock(self.threads)

    def weight_bits(self) -> int:
        """8: XNNPACK widens products to 32 bits before it sums them, on every processor."""
        return 8

    def version(self) -> str:
        """LiteRT's version."""
        return version("ai-edge-litert")

    def device(self) -> str:
        """The processor's model name."""
        return cpu_name()

    def load(self, path: Path, *, optimize: bool = True) -> LiteRtModel:
        """An interpreter of a .tflite file.

        Args:
            path: the file.
            optimize: False runs LiteRT's own kernels in the order of the file, without XNNPACK.

        Raises:
            MeasurementError: LiteRT refuses the file.
        """
        kernels: Kernels = "xnnpack" if optimize else "builtin"
        return LiteRtModel(interpreter(path, self.name, kernels, self.threads), path.name)


def missing(module: str, extra: str) -> str | None:
    """Why a target cannot be used whose package is optional; None where it is installed."""
    if find_spec(module) is not None:
        return None
    return f'{module} is not installed: pip install "raysearch[{extra}]"'


def interpreter(
    path: Path, target: str, kernels: Kernels = "xnnpack", threads: int = 1, *, keep: bool = False
) -> Any:
    """LiteRT's interpreter of a file, ready to run.

    Args:
        path: of a .tflite file.
        target: that is asked for it, for messages.
        kernels: "xnnpack", what it is deployed with; "builtin", LiteRT's own, run in the order of the file;
            or "reference", slow ones, whose integers those of microcontrollers and NPUs are made to equal.
        threads: of one inference.
        keep: whether the values of all tensors can be read after a run.

    Raises:
        MeasurementError: LiteRT refuses the file.
    """
    litert = extras.load("ai_edge_litert.interpreter", EXTRA)
    try:
        with silent():
            found = litert.Interpreter(
                str(path),
                num_threads=threads,
                experimental_op_resolver_type=litert.OpResolverType[_RESOLVERS[kernels]],
                experimental_preserve_all_tensors=keep,
            )
            found.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise MeasurementError(f"{target} cannot load {path.name}: {first_line(error)}") from error
    return found


@dataclass(frozen=True)
class Port:
    """A tensor of a file that is given from outside, or taken.

    Attributes:
        index: the interpreter's.
        shape: fixed, the batch's size first.
        dtype: of the file.
        scale: 0 where it is not rounded.
        zero_point: the code of zero.
    """

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> Port:
        """From what an interpreter says of a tensor."""
        scale, zero_point = details["quantization"]
        shape = tuple(int(size) for size in details["shape"])
        return cls(details["index"], shape, np.dtype(details["dtype"]), float(scale), int(zero_point))

    def codes(self, values: Array) -> Array:
        """Values as the file holds them; what has its type already stays."""
        if values.dtype == self.dtype or not self.scale:
            return values.astype(self.dtype, copy=False)
        limits = np.iinfo(self.dtype)
        codes = np.round(values / np.float32(self.scale)) + self.zero_point
        return np.clip(codes, limits.min, limits.max).astype(self.dtype)

    def values(self, codes: Array) -> Array:
        """What codes of the file are worth."""
        if not self.scale:
            return codes
        return (codes.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


def inputs_of(interpreter: Any) -> dict[str, Port]:
    """The inputs by the names of the file's signature; by their tensors' where it has none."""
    if interpreter.get_signature_list():
        details = interpreter.get_signature_runner().get_input_details()
    else:
        details = {given["name"]: given for given in interpreter.get_input_details()}
    return {name: Port.of(given) for name, given in details.items()}


class LiteRtModel:
    """A .tflite file in an interpreter; a batch of any size is run in parts of the size that the file takes.

    Attributes:
        batch: how many inputs the file takes at once.
    """

    def __init__(self, interpreter: Any, name: str) -> None:
        self._interpreter, self._name = interpreter, name
        self._inputs = inputs_of(interpreter)
        self._outputs = [Port.of(given) for given in interpreter.get_output_details()]
        self.batch = next((port.shape[0] for port in self._inputs.values() if port.shape), 1)

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch, in the type and the values that the network itself gives."""
        n = len(next(iter(feed.values())))
        parts = [self._run(part) for part in self._parts(feed, n)]
        return tuple(np.concatenate(outputs)[:n] for outputs in zip(*parts, strict=True))

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call of the feed, which is rounded and bound beforehand.

        Raises:
            MeasurementError: the feed is no batch of the size that the file takes.
        """
        n = len(next(iter(feed.values())))
        if n != self.batch:
            raise MeasurementError(
                f"{self._name} takes {self.batch} inputs at once, not {n}: its batch has one size"
            )
        self._bind(feed)
        invoke: Callable[[], object] = self._interpreter.invoke
        return invoke

    def _parts(self, feed: Feed, n: int) -> Iterator[Feed]:
        """The feed in parts of the file's size; the last one is filled with its first inputs."""
        for start in range(0, n, self.batch):
            rows = [(start + i) if start + i < n else start for i in range(self.batch)]
            yield {name: array[rows] for name, array in feed.items()}

    def _run(self, feed: Feed) -> list[Array]:
        self._bind(feed)
        self._interpreter.invoke()
        return [port.values(self._interpreter.get_tensor(port.index)) for port in self._outputs]

    def _bind(self, feed: Feed) -> None:
        if feed.keys() != self._inputs.keys():
            raise MeasurementError(f"{self._name} takes {', '.join(self._inputs)}, not {', '.join(feed)}")
        for name, array in feed.items():
            port = self._inputs[name]
            if array.shape != port.shape:
                raise MeasurementError(
                    f"{self._name} takes {name} of shape {port.shape} alone, not of {array.shape}"
                )
            self._set(port, port.codes(array))

    def _set(self, port: Port, codes: Array) -> None:
        self._interpreter.set_tensor(port.index, np.ascontiguousarray(codes))
