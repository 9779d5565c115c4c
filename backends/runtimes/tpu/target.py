"""TPUs: compiled for without one, so that latencies are predicted; measured where one is attached."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from raysearch.backends.base import TIMED, Array, Feed, Form, MeasurementError, Source
from raysearch.backends.runtimes.tpu.child import Child
from raysearch.basics.failures import UserError

_COMPILER = "raysearch.backends.runtimes.tpu.compiler"
_PACKAGES = ("jax", "libtpu", "torchax")
_DTYPES = ("bf16", "f32")
_LIMIT_S = 600.0  # a ResNet-18 of a batch of 32 takes a minute, on two busy cores three
# Nothing is asked of Google's metadata server, no device is looked for or locked, nothing is logged to files.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_LOG_DIR": "disabled",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "ENABLE_RUNTIME_UPTIME_TELEMETRY": "0",
}
# Google's number among makers of PCI devices, and those of its chips.
_MAKER = "0x1ae0"
_CHIPS = {"tpu-v4": "0x005e", "tpu-v5p": "0x0062", "tpu-v5e": "0x0063", "tpu-v6e": "0x006f"}
_PCI = Path("/sys/bus/pci/devices")


@dataclass(frozen=True, kw_only=True)
class Tpu:
    """What the targets "tpu-v5e", "tpu-v6e", "tpu-v5p" and "tpu-v4" have in common, a TPU or none.

    Args:
        runtime: which of them.
        name: of the target.
        batch: inputs at a time.
        dtype: of weights, inputs and products: "bf16", or "f32" with products in full precision.
    """

    runtime: str
    name: str
    batch: int = 1
    dtype: str = "bf16"
    threads: ClassVar[int] = 1
    package: ClassVar[str] = "libtpu"
    form: ClassVar[Form] = "pt2"
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset()
    sparse: ClassVar[frozenset[str]] = frozenset()
    finalists_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise UserError(f"target {self.name!r}: dtype is {self.dtype!r}, give {' or '.join(_DTYPES)}")

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        missing = [package for package in _PACKAGES if find_spec(package) is None]
        return f'{missing[0]} is not installed: pip install "raysearch[tpu]"' if missing else None

    def weight_bits(self) -> int:
        """All 8: it computes in float."""
        return 8

    def version(self) -> str:
        """The compiler's version, and JAX's."""
        return f"{version('libtpu')}, jax {version('jax')}"

    def device(self) -> str:
        """What Google calls it."""
        return f"Google TPU {self.runtime.removeprefix('tpu-')}"

    def clock(self) -> Callable[[], int]:
        """The wall's: the processor only waits."""
        return time.perf_counter_ns

    def load(self, path: Path, *, optimize: bool = True) -> TpuModel:
        """A model of a ``.pt2`` file, which is run on this CPU, in the target's type.

        Args:
            path: the file.
            optimize: makes no difference: XLA always compiles.

        Raises:
            MeasurementError: it is no such file, or JAX lacks an operator of it, which is named.
        """
        return TpuModel(path, self)


@dataclass(frozen=True, kw_only=True)
class PredictedTpu(Tpu):
    """A TPU that is not here."""

    integers_only: ClassVar[bool] = False
    figures: ClassVar[Mapping[str, Source]] = {
        "latency_ms": "predicted",
        "throughput": "predicted",
        "peak_memory_mb": "predicted",
    }

    def estimate(self, path: Path, example: Feed) -> tuple[dict[str, float], list[str]]:
        """XLA's figures of a network that it compiles for the device, some seconds to minutes.

        The latency is ``optimal_seconds``: what computing and moving take at the device's own rates, with
        nothing waiting for anything. Each operator without an estimate counts -1 s in it: whole seconds are
        added back.

        Args:
            path: the ``.pt2`` file.
            example: a batch of inputs by name.

        Raises:
            MeasurementError: it cannot be compiled; what JAX has no operator for is named.
        """
        found = _ask(
            self,
            Child(_COMPILER, _ENVIRONMENT),
            "estimate",
            path=str(path),
            runtime=self.runtime,
            dtype=self.dtype,
            shapes=[array.shape for array in example.values()],
        )
        unestimated = max(0, math.ceil(-found["optimal_seconds"]))
        seconds = found["optimal_seconds"] + unestimated
        if not seconds > 0:
            raise MeasurementError(f"{self.name} cannot estimate {path.name}: XLA knows nothing of it")
        figures = {
            "latency_ms": 1e3 * seconds,
            "throughput": self.batch / seconds,
            "peak_memory_mb": found["bytes"] / 1e6,
        }
        return figures, _notes(self.dtype, unestimated)


@dataclass(frozen=True, kw_only=True)
class MeasuredTpu(Tpu):
    """A TPU that is attached to this machine."""

    figures: ClassVar[Mapping[str, Source]] = TIMED

    def load(self, path: Path, *, optimize: bool = True) -> AttachedModel:
        """As of any TPU; its ``runner`` runs on the device."""
        return AttachedModel(path, self)


def class_of(runtime: str) -> type[Tpu]:
    """The class of a target, by whether one of its chips is among this machine's PCI devices.

    JAX itself is not asked: that would take the device for this process.
    """
    for device in _PCI.glob("*"):
        try:
            found = [(device / part).read_text(encoding="ascii").strip() for part in ("vendor", "device")]
        except OSError:  # taken out meanwhile
            continue
        if found == [_MAKER, _CHIPS[runtime]]:
            return MeasuredTpu
    return PredictedTpu


class TpuModel:
    """An exported program, which another process runs with JAX on this CPU."""

    def __init__(self, path: Path, target: Tpu) -> None:
        self._path, self._target = str(path), target
        self._child, self._checked = Child(_COMPILER, _ENVIRONMENT), False
        self._ask("load")

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch; the first time it is made sure that JAX computes what torch does."""
        if not self._checked:
            self._ask("check", feed=dict(feed))
            self._checked = True
        found: tuple[Array, ...] = self._ask("run", feed=dict(feed), dtype=self._target.dtype)
        return found

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, on this CPU."""
        return lambda: self(feed)

    def _ask(self, request: str, **arguments: Any) -> Any:
        return _ask(self._target, self._child, request, path=self._path, **arguments)


class AttachedModel(TpuModel):
    """An exported program that is timed on this machine's TPU, by the process that asks for it."""

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, with weights and inputs on the device."""
        from raysearch.backends.runtimes.tpu.compiler import bound

        return bound(self._path, self._target.dtype, feed)


def _ask(target: Tpu, child: Child, request: str, **arguments: Any) -> Any:
    try:
        return child.ask(request, _LIMIT_S, **arguments)
    except MeasurementError as error:
        raise MeasurementError(f"{target.name} {error}") from None


def _notes(dtype: str, unestimated: int) -> list[str]:
    found = [
        f"latency is XLA's optimal_seconds, a lower bound: nothing waits for anything; all in {dtype}, "
        "integers too"
    ]
    if unestimated:
        found.append(f"{unestimated} operators, of which XLA has no estimate, count nothing in the latency")
    return found
