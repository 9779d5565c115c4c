"""Energy of inference: the joules of repeated runs, less what the device draws idle, by a meter that is read.

A target has a meter where its user names one: "nvml" (the counter of an NVIDIA GPU), "rapl" (those of the
processor's packages and its memory) or a command of the user's own, a list of words, that prints what an
external meter shows: "812.5 J", joules so far, or "3.2 W", the power now. Nothing is estimated: what load and
a data sheet's power would give is no measurement.

A counter is read where it moves, from tick to tick: NVML's moves some ten times a second only.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from raysearch.backends.base import TIMED, MeasurementError, Source
from raysearch.basics.extras import MissingExtra, load
from raysearch.basics.failures import first_line

MeterSpec = str | tuple[str, ...]
"""How a target names its meter: "nvml", "rapl" or the words of a command."""

POWERCAP = Path("/sys/class/powercap")
# Six windows are what the 95 % interval of a median needs: it is that from the smallest to the largest.
_WINDOWS, _BUSY_S, _IDLE_S = 6, 0.3, 0.15
_CHUNK_S = 0.002
_REST_S = 0.002
_SAMPLES = 3  # of a power, at least, in a window
_PATIENCE_S = 5.0
_READING = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([JW])")

Step = Callable[[], object]
Seconds = Callable[[], float]


@dataclass(frozen=True)
class Window:
    """What a meter showed while something was done ``steps`` times, in ``seconds``."""

    joules: float
    seconds: float
    steps: int


class Meter(Protocol):
    """A meter that can be read."""

    def over(self, step: Step, seconds: float) -> Window:
        """Repeat a step for at least so long, and say what that took.

        Raises:
            MeasurementError: the meter fails, stands still or runs backwards.
        """
        ...


@dataclass(frozen=True)
class Idle:
    """The power of a device at rest, in watts, and half the width of its 95 % interval."""

    watts: float
    error: float


@dataclass(frozen=True)
class Energy:
    """The energy of one inference.

    Attributes:
        millijoules: NaN where the device drew no more than at rest, as it may beside another load.
        noise: relative half-width of its 95 % interval, the error of the power at rest included.
    """

    millijoules: float
    noise: float


def idle_power(meter: Meter, sleep: Callable[[float], None] = time.sleep) -> Idle:
    """The power of a device that nothing is run on, over about a second.

    Raises:
        MeasurementError: the meter cannot be read.
    """
    windows = [meter.over(lambda: sleep(_REST_S), _IDLE_S) for _ in range(_WINDOWS)]
    watts = [window.joules / window.seconds for window in windows]
    return Idle(median(watts), (max(watts) - min(watts)) / 2)


def energy_of(
    infer: Step, meter: Meter, idle: Idle, finish: Step, now: Seconds = time.perf_counter
) -> Energy:
    """The energy of one inference, from about two seconds of them one after another.

    Args:
        infer: one inference a call.
        meter: of the device that it runs on.
        idle: the device's power at rest, which is not the inference's.
        finish: waits for what has been launched, as a reading of a GPU's clock does.
        now: the clock on the wall.

    Raises:
        MeasurementError: the meter cannot be read.
    """
    start = now()
    infer()
    finish()
    calls = math.ceil(_CHUNK_S / max(now() - start, 1e-6))

    def chunk() -> None:
        for _ in range(calls):
            infer()
        finish()

    meter.over(chunk, _BUSY_S)  # until power is steady
    windows = [meter.over(chunk, _BUSY_S) for _ in range(_WINDOWS)]
    used = [(w.joules - idle.watts * w.seconds) / (w.steps * calls) for w in windows]
    one = median(used)
    if one <= 0:
        return Energy(math.nan, math.inf)
    span = median(w.seconds / (w.steps * calls) for w in windows)
    error = math.hypot((max(used) - min(used)) / 2, idle.error * span)
    return Energy(1e3 * one, error / one)


@dataclass(frozen=True)
class Counter:
    """A meter that counts joules.

    Args:
        name: for messages.
        read: the joules so far; only differences mean something.
        now: the clock on the wall.
    """

    name: str
    read: Callable[[], float]
    now: Seconds = time.perf_counter

    def over(self, step: Step, seconds: float) -> Window:
        """See ``Meter``: from a tick of the counter to its first one after so many seconds."""
        _, before = self._tick(step)
        start, steps = self.now(), 0
        while self.now() - start < seconds:
            step()
            steps += 1
        more, after = self._tick(step)
        if after < before:
            raise MeasurementError(f"the meter {self.name} runs backwards: from {before} J to {after} J")
        return Window(after - before, self.now() - start, steps + more)

    def _tick(self, step: Step) -> tuple[int, float]:
        """Repeat the step until the counter moves; how often that was, and what it shows then."""
        shown, deadline, steps = self.read(), self.now() + _PATIENCE_S, 0
        while (joules := self.read()) == shown:
            if self.now() > deadline:
                raise MeasurementError(f"the meter {self.name} has stood still for {_PATIENCE_S:g} s")
            step()
            steps += 1
        return steps, joules


@dataclass(frozen=True)
class Gauge:
    """A meter that shows watts, read all the while by a thread of its own.

    Args:
        read: the power now, in watts.
    """

    read: Callable[[], float]

    def over(self, step: Step, seconds: float) -> Window:
        """See ``Meter``: the mean of the readings, times the seconds that they span."""
        watts: list[float] = []
        done = threading.Event()

        def sample() -> None:
            while not done.is_set():
                watts.append(self.read())

        with ThreadPoolExecutor(1) as thread:
            start, steps, sampling = time.perf_counter(), 0, thread.submit(sample)
            try:
                while time.perf_counter() - start < seconds or len(watts) < _SAMPLES:
                    if sampling.done():
                        break
                    step()
                    steps += 1
                taken, readings = time.perf_counter() - start, watts.copy()
            finally:
                done.set()
            sampling.result()
        return Window(sum(readings) / len(readings) * taken, taken, steps)


def opened(meter: MeterSpec) -> Meter:
    """A meter that was read once.

    Raises:
        MeasurementError: it cannot be read; in a sentence that says why and what helps.
        MissingExtra: NVML's bindings are not installed.
    """
    if meter == "rapl":
        return Counter("rapl", Rapl(POWERCAP).joules)
    if meter == "nvml":
        return Counter("nvml", _nvml())
    _, unit = _shown(meter)
    name = Path(meter[0]).name

    def read() -> float:
        value, again = _shown(meter)
        if again != unit:
            raise MeasurementError(f"the meter {name} shows {again} now, and {unit} before")
        return value

    return Counter(name, read) if unit == "J" else Gauge(read)


class Rapl:
    """The energy counters of a processor, as Linux shows them: its packages and their memory.

    Cores and graphics are within a package, and so are packages within "psys", the whole board, which is read
    only where nothing else is.

    Args:
        folder: of the power capping framework, /sys/class/powercap.

    Raises:
        MeasurementError: there is no such counter, or this user may not read it.
    """

    def __init__(self, folder: Path) -> None:
        self._domains = _domains(folder)
        if not self._domains:
            raise MeasurementError(f"no RAPL counter stands in {folder}: this processor or machine has none")
        self._ranges = [_number(domain / "max_energy_range_uj") for domain in self._domains]
        self._last = self._raw()
        self._total = 0

    def joules(self) -> float:
        """The joules since it was made, to be read before any counter has come round twice.

        Raises:
            MeasurementError: a counter cannot be read or runs backwards.
        """
        raw = self._raw()
        for domain, span, last, value in zip(self._domains, self._ranges, self._last, raw, strict=True):
            gone = value - last if value >= last else value - last + span
            if value < last and gone > span / 2:  # it never came round in so short a time
                raise MeasurementError(f"the meter {domain.name} runs backwards: from {last} to {value} uJ")
            self._total += gone
        self._last = raw
        return self._total / 1e6

    def _raw(self) -> list[int]:
        return [_number(domain / "energy_uj") for domain in self._domains]


def _domains(folder: Path) -> list[Path]:
    """The folders whose counters add up to what the processor and its memory take."""
    # Not intel-rapl-mmio, which counts the same packages again.
    named = {path: _text(path / "name") for path in sorted(folder.glob("intel-rapl:*"))}
    parts = [path for path, name in named.items() if name.startswith("package") or name == "dram"]
    return parts or [path for path, name in named.items() if name == "psys"]


def _number(path: Path) -> int:
    text = _text(path)
    if not text.isdecimal():
        raise MeasurementError(f"{path} holds {text[:40]!r}, not a number")
    return int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except PermissionError:
        raise MeasurementError(
            f"{path} may not be read: let its owner allow it, with sudo chmod a+r {path}"
        ) from None
    except OSError as error:
        raise MeasurementError(f"{path} cannot be read: {error.strerror}") from error


def _nvml() -> Callable[[], float]:
    """Reads the joules of the GPU that this process uses, since its driver was loaded."""
    nvml = load("pynvml", "nvml")
    try:
        nvml.nvmlInit()
        named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
        count = nvml.nvmlDeviceGetCount()
        if not named and count != 1:
            raise MeasurementError(f"NVML sees {count} GPUs: name one in CUDA_VISIBLE_DEVICES")
        if named and not named.isdecimal():
            handle = nvml.nvmlDeviceGetHandleByUUID(named)
        else:
            handle = nvml.nvmlDeviceGetHandleByIndex(int(named or 0))
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError as error:
        raise MeasurementError(f"NVML cannot read this GPU's energy: {first_line(error)}") from error

    def read() -> float:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except nvml.NVMLError as error:
            raise MeasurementError(f"NVML cannot read this GPU's energy: {first_line(error)}") from error

    return read


def _shown(command: MeterSpec) -> tuple[float, str]:
    """What a command prints: a number and its unit, "J" or "W"."""
    name = Path(command[0]).name
    try:
        ran = subprocess.run(
            list(command), capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"the meter {name} has printed nothing for {_PATIENCE_S:g} s") from None
    except OSError as error:
        raise MeasurementError(f"the meter {name} cannot be run: {error.strerror}") from error
    if ran.returncode != 0:
        said = (ran.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise MeasurementError(f"the meter {name} failed with exit code {ran.returncode}: {said[:200]}")
    found = _READING.fullmatch(ran.stdout.strip())
    if found is None:
        raise MeasurementError(
            f'the meter {name} printed {ran.stdout.strip()[:40]!r}: let it print joules so far ("12.5 J") or '
            f'the power now ("3.2 W")'
        )
    return float(found[1]), found[2]


@dataclass(frozen=True, kw_only=True)
class Metered:
    """What targets have in common whose inferences are timed, and metered where a meter is named.

    Args:
        meter: "nvml", "rapl", or the words of a command; None: energy is not known.
    """

    meter: MeterSpec | None = None

    @property
    def figures(self) -> Mapping[str, Source]:
        """The metrics that are known of it, with where they come from."""
        return TIMED if self.meter is None else {**TIMED, "energy_mj": "measured"}

    def unavailable(self) -> str | None:
        """Why the meter cannot be read, None where it can or none is named."""
        try:
            if self.meter is not None:
                opened(self.meter)
        except (MeasurementError, MissingExtra) as error:
            return str(error)
        return None
