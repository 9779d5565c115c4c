"""The meters that a target may name, and the targets that may name one.

"nvml" is the counter of an NVIDIA GPU, "rapl" those of the processor's packages and their memory; a command
of the user's own, a list of words, prints what an external meter shows: "812.5 J", joules so far, or "3.2 W",
the power now.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raysearch.backends.base import TIMED, MeasurementError, Source
from raysearch.backends.energy.power import Counter, Gauge, Meter
from raysearch.basics.extras import MissingExtra, load
from raysearch.basics.failures import first_line

MeterSpec = str | tuple[str, ...]
"""How a target names its meter: "nvml", "rapl" or the words of a command."""

POWERCAP = Path("/sys/class/powercap")
_PATIENCE_S = 5.0
_READING = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([JW])")


def opened(meter: MeterSpec, gpu: int | None = None) -> Meter:
    """A meter that was read once.

    Args:
        meter: as a target names it.
        gpu: of those that this process sees the index of the one to read, for "nvml"; None: the only one, or
            the first that CUDA_VISIBLE_DEVICES names.

    Raises:
        MeasurementError: it cannot be read; in a sentence that says why and what helps.
        MissingExtra: NVML's bindings are not installed.
    """
    if meter == "rapl":
        return Counter("rapl", Rapl(POWERCAP).joules)
    if meter == "nvml":
        return Counter("nvml", _nvml(gpu))
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


def _nvml(gpu: int | None) -> Callable[[], float]:
    """Reads the joules of a GPU that this process sees, since its driver was loaded."""
    nvml = load("pynvml", "nvml")
    try:
        nvml.nvmlInit()
        seen = [
            each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()
        ]
        count = len(seen) or nvml.nvmlDeviceGetCount()
        if gpu is None and not seen and count != 1:
            raise MeasurementError(f"NVML sees {count} GPUs: name one in CUDA_VISIBLE_DEVICES")
        index = gpu or 0
        if index >= count:
            raise MeasurementError(f"NVML sees {count} GPUs, and not one of index {index}")
        named = seen[index] if seen else str(index)
        by = nvml.nvmlDeviceGetHandleByIndex if named.isdecimal() else nvml.nvmlDeviceGetHandleByUUID
        handle = by(int(named) if named.isdecimal() else named)
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
                opened(self.meter, getattr(self, "gpu", None))
        except (MeasurementError, MissingExtra) as error:
            return str(error)
        return None
