"""What every target offers (Backend, CompiledModel), and what its figures carry (Measurement, Estimate)."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray

from raysearch.backends.measurement.protocol import Clock, Figures
from raysearch.backends.measurement.protocol import Protocol as Settings

Array = NDArray[Any]
Feed = Mapping[str, Array]
"""A model's inputs by name, in the order of its arguments; axis 0 of each is the batch."""
Form = Literal["uint8", "int8", "litert", "pt2"]
SUFFIXES: Mapping[str, str] = {"uint8": ".onnx", "int8": ".onnx", "litert": ".tflite", "pt2": ".pt2"}
Source = Literal["measured", "predicted", "static"]
TIMED: Mapping[str, Source] = {"latency_ms": "measured", "throughput": "measured", "peak_memory_mb": "static"}
"""What can be said of a target on which inferences are timed."""


class MeasurementError(RuntimeError):
    """A runtime could not load, run or measure a model; the message says which and why."""


class DeviceLost(MeasurementError):
    """A device, and no model, is why there is no result: another device, or a later time, may give one."""


class CompiledModel(Protocol):
    """A model that a runtime has loaded."""

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch of inputs, in their order, as the target's runtime computes them."""
        ...

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, with the inputs bound beforehand: what a latency measurement repeats."""
        ...


class Backend(Protocol):
    """A target: a runtime on a device, as a frozen dataclass whose fields are what a study file may set.

    Attributes:
        runtime: what it was chosen by, such as "onnxruntime-cpu"; a field.
        name: the target's name in study files and metrics: its runtime's, or the user's own; a field.
        package: the distribution that runs the model.
        form: the form of file it wants: "uint8" is ONNX with unsigned quantised activations, "int8" with
            signed ones around a zero point of 0 and biases in float, "litert" a .tflite file with int8
            activations, for a batch of one size, "pt2" an exported torch program.
        figures: the metrics that are known of it, with where they come from. One without "latency_ms" says
            nothing of time; other than measured latencies come from ``Estimator.estimate``.
        channel_multiple: pruned layers keep a multiple of this many channels, since its kernels work in such
            blocks.
        integers: bits in which it computes with integers, where weights and activations both have them; fewer
            bits than float on one side alone, and bits that are not named, it only stores.
        sparse: the patterns of zeros among weights ("unstructured", "2:4") that it computes faster.
        threads: how many threads one inference uses.
        batch: how many inputs it is measured with at a time.
        finalists_only: to be measured, a model is compiled for so long that only what a search has found is;
            until then such a target says what is counted, and computes outputs some other way.
    """

    # Read-only, so that frozen dataclasses and class attributes both will do.
    @property
    def runtime(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def package(self) -> str: ...  # noqa: D102
    @property
    def form(self) -> Form: ...  # noqa: D102
    @property
    def figures(self) -> Mapping[str, Source]: ...  # noqa: D102
    @property
    def channel_multiple(self) -> int: ...  # noqa: D102
    @property
    def integers(self) -> frozenset[int]: ...  # noqa: D102
    @property
    def sparse(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def threads(self) -> int: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def finalists_only(self) -> bool: ...  # noqa: D102

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

    def clock(self) -> Callable[[], int]:
        """The clock, in nanoseconds, that times its inferences, leaving out what is not the model's."""
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


@runtime_checkable
class Estimator(Protocol):
    """A target that says of a file what needs no timing: a compiler's prediction, a memory's size.

    Attributes:
        integers_only: what it computes in float it says nothing of: files of networks in float are refused.
    """

    @property
    def integers_only(self) -> bool: ...  # noqa: D102

    def estimate(self, path: Path, example: Feed) -> tuple[dict[str, float], list[str]]:
        """Its figures by metric ("latency_ms"), without the target's name, and remarks.

        Args:
            path: a file of this target's form.
            example: a batch of inputs by name.

        Raises:
            MeasurementError: the target cannot run the file; an operator that it lacks is named.
        """
        ...


@runtime_checkable
class Comparing(Protocol):
    """A target that measures where it is, a model beside the reference, and gives the figures back."""

    def compare(self, model: Path, reference: Path, example: Feed, protocol: Settings) -> Figures:
        """The protocol's figures of a model against a reference; for its own noise both are the same file.

        Raises:
            MeasurementError: the target is gone, or cannot run one of them.
        """
        ...


def runs_branches(backend: Backend) -> bool:
    """Whether a target runs files with ONNX's ``If``, as networks that inputs may leave early are.

    It says so by ``branches``; one that says nothing does not.
    """
    return bool(getattr(backend, "branches", False))


def in_integers_alone(backend: Backend) -> bool:
    """Whether a target says nothing of networks in float."""
    return isinstance(backend, Estimator) and backend.integers_only


def trial_figures(backend: Backend) -> Mapping[str, Source]:
    """The figures that every trial reports of a target: all, or of finalists' alone what is counted."""
    if not backend.finalists_only:
        return backend.figures
    return {metric: source for metric, source in backend.figures.items() if source == "static"}


def cpu_clock(threads: int) -> Callable[[], int]:
    """The clock of a runtime on this machine's processor.

    The calling thread's, which leaves preemption out, where all runs in it; else that on the wall.
    """
    return time.thread_time_ns if threads == 1 else time.perf_counter_ns


def clock_of(backend: Backend) -> Clock:
    """The clocks of a target; a device's own does not tell one call from the next."""
    cpu = backend.clock()
    return Clock(cpu=cpu, each=cpu in (time.thread_time_ns, time.perf_counter_ns))


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
        wall_ms: raw percentiles of the wall-clock time of single inferences: "p50", "p90" (the figure of
            MLPerf's single-stream scenario), "p99".
        contention: share of the wall-clock time in which the thread did not run, 0..1.
        slowdown: the reference's median CPU time during this measurement, as a multiple of ``reference_ms``.
        contended: another load was noticeable: read the figure with care, and measure again alone.
        converged: ``noise`` is within the protocol's tolerance; False where its time was over before.
        warm: the model was no slower at the beginning than later.
        samples: paired blocks.
        seconds: what the measurement took.
        runtime, version, device, threads, batch: what ran, on what, how.
        energy_mj: of one inference of one batch, less what the device draws at rest; NaN where it drew no
            more than that beyond noise, None where the target has no meter.
        energy_noise: relative half-width of its 95 % interval.
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
    converged: bool = True
    warm: bool = True
    energy_mj: float | None = None
    energy_noise: float | None = None


@dataclass(frozen=True)
class Estimate:
    """What a target says of a model without timing it.

    Attributes:
        target, key, structure: as of a Measurement.
        figures: by metric, without the target's name: {"latency_ms": 1.29}.
        notes: remarks on them.
        source: "predicted", or "measured" of what is found by trying, such as the smallest memory.
        runtime, version, device, batch, seconds, cached: as of a Measurement.
    """

    target: str
    key: str
    structure: str
    figures: dict[str, float]
    runtime: str
    version: str
    device: str
    batch: int
    seconds: float
    notes: list[str] = field(default_factory=list)
    source: str = "predicted"
    cached: bool = False


Known = Measurement | Estimate
_Figure = TypeVar("_Figure", Measurement, Estimate)


def to_dict(known: Known) -> dict[str, Any]:
    """Plain JSON types."""
    return asdict(known)


def from_dict(data: Mapping[str, Any]) -> Known:
    """The inverse of ``to_dict``; keys that a later version added are left out.

    Raises:
        ValueError: a field is missing.
    """
    return _of(Estimate, data) if "figures" in data else _of(Measurement, data)


def _of(cls: type[_Figure], data: Mapping[str, Any]) -> _Figure:
    known = {f.name for f in fields(cls)}
    try:
        return cls(**{name: value for name, value in data.items() if name in known})
    except TypeError as error:
        raise ValueError(f"not a measurement: {error}") from None


def values_of(known: Mapping[str, Any]) -> dict[str, float]:
    """What a measurement or an estimate, as a dictionary, says, by metric and target.

    The throughput of a measurement is that of batches one after another (the offline scenario of Reddi et
    al., "MLPerf Inference Benchmark", ISCA 2020), in inputs a second.
    """
    figures = known.get("figures")
    if figures is None:
        latency = known["latency_ms"]
        figures = {"latency_ms": latency, "throughput": 1e3 * known.get("batch", 1) / latency}
        if (energy := known.get("energy_mj")) is not None:
            figures["energy_mj"] = energy
    return {f"{metric}/{known['target']}": float(value) for metric, value in figures.items()}


def cpu_name() -> str:
    """The model name of this machine's processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
