"""What every runtime offers (Backend, CompiledModel) and what a latency figure carries (Measurement)."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Feed = Mapping[str, Array]
"""A model's inputs by name, in the order of its arguments; axis 0 of each is the batch."""
Form = Literal["uint8", "pt2", "litert"]


class MeasurementError(RuntimeError):
    """A runtime could not load, run or measure a model; the message says which and why."""


class CompiledModel(Protocol):
    """A model that a runtime has loaded."""

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch of inputs, in their order, as the target's runtime computes them."""
        ...

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, with the inputs bound beforehand: what a latency measurement repeats."""
        ...


class Backend(Protocol):
    """A runtime on a device.

    Attributes:
        name: the target's name in study files and metrics.
        runtime: the package that runs the model.
        form: the form of file it wants: "uint8" is ONNX with unsigned quantised activations, "pt2" an
            exported torch program, "litert" a .tflite file with int8 activations, for a batch of one size.
        suffix: the ending of such a file, with its dot.
        channel_multiple: pruned layers keep a multiple of this many channels, since its kernels work in such
            blocks.
        integers: bits in which it computes with integers, where weights and activations both have them; fewer
            bits than float on one side alone, and bits that are not named, it only stores.
        sparse: the patterns of zeros among weights ("unstructured", "2:4") that it computes faster.
        threads: how many threads one inference uses.
    """

    name: str
    runtime: str
    form: Form
    suffix: str
    channel_multiple: int
    integers: frozenset[int]
    sparse: frozenset[str]
    threads: int

    def unavailable(self) -> str | None:
        """Why this target cannot be used here, with the command that helps; None where it can."""
        ...

    def weight_bits(self) -> int:
        """The most bits of integer weights with which products are summed exactly on this device, at most 8.

        Where sums of two products are kept in 16 bits (x86 before its VNNI instructions) those of weights of
        8 bits overflow, and what was trained is not what runs.
        """
        ...

    def version(self) -> str:
        """The runtime's version."""
        ...

    def device(self) -> str:
        """The model name of the device."""
        ...

    def load(self, path: Path, *, optimize: bool = True) -> CompiledModel:
        """Load a model file of this backend's form.

        Args:
            path: the file.
            optimize: False runs the graph as it is written, for exact comparison with the torch module.

        Raises:
            MeasurementError: the runtime refuses the file.
        """
        ...


@dataclass(frozen=True)
class Measurement:
    """The latency of a model on a target, with everything that says what the figure is worth.

    Attributes:
        target: where it was measured.
        key: identifies what was measured and how; equal keys may share a figure.
        structure: the model's structure key (its graph without its weights' values).
        reference: the structure key of the reference, the parent of the study.
        latency_ms: ``ratio`` x ``reference_ms``, for one batch.
        ratio: median paired ratio to the reference (1 for the reference itself).
        reference_ms: the reference's quiet latency: the 10th percentile of its thread CPU time when it was
            set.
        noise: relative half-width of the 95 % interval of ``ratio``.
        cpu_ms: raw percentiles of the CPU time of one inference: "p10", "p50", "p90".
        wall_ms: raw percentiles of its wall-clock time: "p50", "p90", "p99".
        contention: share of the wall-clock time in which the thread did not run, 0..1.
        slowdown: the reference's median CPU time during this measurement, as a multiple of ``reference_ms``.
        contended: another load was noticeable: read the figure with care, and measure again alone.
        samples: paired blocks.
        seconds: what the measurement took.
        runtime, version, device, threads, batch: what ran, on what, how.
        source: "measured"; other sources are other classes of figures.
        cached: taken from an earlier measurement of the same key.
    """

    target: str
    key: str
    structure: str
    reference: str
    latency_ms: float
    ratio: float
    reference_ms: float
    noise: float
    cpu_ms: dict[str, float]
    wall_ms: dict[str, float]
    contention: float
    slowdown: float
    contended: bool
    samples: int
    seconds: float
    runtime: str
    version: str
    device: str
    threads: int
    batch: int
    source: str = "measured"
    cached: bool = False

    @property
    def metric(self) -> str:
        """The name under which ``latency_ms`` is reported."""
        return f"latency_ms/{self.target}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """The inverse of ``to_dict``; keys that a later version added are left out.

        Raises:
            ValueError: a field is missing.
        """
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{name: value for name, value in data.items() if name in known})
        except TypeError as error:
            raise ValueError(f"not a measurement of latency: {error}") from None


def cpu_name() -> str:
    """The model name of this machine's processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
