"""Arm's Ethos-U NPUs, beside a Cortex-M: what Arm's own compiler, Vela, predicts of a .tflite file.

No board is needed, and none is measured: memory and the division between NPU and CPU are what the compiler
decides, time is its estimate, of the NPU alone. Outputs are those of LiteRT's reference kernels, whose
integers the NPU's are made to equal.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from raysearch.backends import tflite
from raysearch.backends.base import Feed, Form, MeasurementError, Source
from raysearch.backends.runtimes.litert import LiteRtModel, interpreter, missing
from raysearch.basics import extras

EXTRA = "ethos-u"
_PACKAGE = "ethosu"
_KIB = 1024 / 1e6  # megabytes
_SECONDS = 600  # that a compilation may take: most take less than three
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", "BATCH_MATMUL")
_ON_NPU = "ethos-u"  # the operator that stands for all that Vela has compiled


@dataclass(frozen=True, kw_only=True)
class EthosU:
    """The targets "ethos-u55-128", "ethos-u55-256", "ethos-u65-512" and "ethos-u85-512".

    Args:
        runtime: Vela's name of the accelerator, with the number of its multipliers.
        name: of the target.
    """

    runtime: str = "ethos-u55-256"
    name: str = "ethos-u55-256"
    package: ClassVar[str] = "ethos-u-vela"
    form: ClassVar[Form] = "litert"
    figures: ClassVar[Mapping[str, Source]] = {
        "latency_ms": "predicted",
        "peak_memory_mb": "predicted",
        "flash_mb": "predicted",
    }
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset({2, 4, 8})  # those below 8 bits as 8
    sparse: ClassVar[frozenset[str]] = frozenset()
    finalists_only: ClassVar[bool] = False
    integers_only: ClassVar[bool] = True
    threads: ClassVar[int] = 1
    batch: ClassVar[int] = 1

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        return missing(_PACKAGE, EXTRA) or missing("ai_edge_litert", EXTRA)

    def weight_bits(self) -> int:
        """8: it sums in 32 bits or more."""
        return 8

    def version(self) -> str:
        """Vela's version."""
        return version("ethos-u-vela")

    def device(self) -> str:
        """The accelerator."""
        return self.runtime

    def clock(self) -> Callable[[], int]:
        """No inference is timed: the wall's."""
        return time.perf_counter_ns

    def estimate(self, path: Path, example: Feed) -> tuple[dict[str, float], list[str]]:
        """See ``vela_figures``."""
        return vela_figures(path, self.runtime)

    def load(self, path: Path, *, optimize: bool = True) -> LiteRtModel:
        """The file in LiteRT's reference kernels, which give the integers that the NPU gives.

        Args:
            path: the .tflite file.
            optimize: makes no difference.

        Raises:
            MeasurementError: LiteRT refuses the file.
        """
        return LiteRtModel(interpreter(path, self.name, "reference"), path.name)


def vela_figures(path: Path, accelerator: str) -> tuple[dict[str, float], list[str]]:
    """What Vela predicts of a file on an accelerator, in the system and memory mode that it takes by default.

    Args:
        path: a .tflite file.
        accelerator: "ethos-u55-128" ... "ethos-u85-2048".

    Returns:
        ``latency_ms`` of one inference (the NPU's part), ``peak_memory_mb`` (SRAM) and ``flash_mb`` (what
        lies in flash, or in DRAM in its place, weights as they are compressed); and in words which system
        that is, and what stays on the CPU, with its layers.

    Raises:
        MissingExtra: Vela is not installed.
        MeasurementError: Vela refuses the file, nothing in it runs on the NPU, or a layer is left to the CPU:
            its time is not in Vela's, and the more layers it had, the faster the network would seem.
    """
    extras.check(_PACKAGE, EXTRA)
    tflite.operators(path)  # a file of another kind is refused here
    with tempfile.TemporaryDirectory(prefix="raysearch-vela-") as name:
        folder = Path(name)
        _compile(path, accelerator, folder)
        (compiled,) = folder.glob("*_vela.tflite")
        operators = tflite.operators(compiled)
        summaries = list(folder.glob("*_summary_*.csv"))
        if not summaries or not any(op.name == _ON_NPU for op in operators):
            raise MeasurementError(f"{accelerator} runs no operator of {path.name}: {_left(operators)}")
        if layers := dict.fromkeys(op.layer or op.name for op in operators if op.name in _LAYERS):
            raise MeasurementError(
                f"{accelerator} leaves {', '.join(layers)} of {path.name} to the CPU, whose time is not "
                "predicted: the NPU computes layers of at most 8 bits of weights and of activations"
            )
        with summaries[0].open(encoding="utf-8", newline="") as lines:
            (summary,) = csv.DictReader(lines)
    outside = [float(summary[f"{area}_memory_used"]) for area in ("dram", "on_chip_flash", "off_chip_flash")]
    values = {
        "latency_ms": float(summary["inference_time"]) * 1e3,
        "peak_memory_mb": float(summary["sram_memory_used"]) * _KIB,
        "flash_mb": sum(outside) * _KIB,
    }
    notes = [_system(summary)]
    left = _left(operators)
    return values, [*notes, f"on the CPU, not in latency_ms: {left}"] if left else notes


def _compile(path: Path, accelerator: str, folder: Path) -> None:
    """Run Vela in a process of its own: it keeps state, and may end the process."""
    command = [sys.executable, "-m", "ethosu.vela", str(path.absolute())]
    command += ["--accelerator-config", accelerator, "--output-dir", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"Vela takes more than {_SECONDS} s to compile {path.name}") from None
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise MeasurementError(
            f"Vela cannot compile {path.name} for {accelerator}: {said[-1] if said else done.returncode}"
        )


def _system(summary: dict[str, str]) -> str:
    clock = float(summary["core_clock"]) / 1e6
    modes = f"{summary['system_config']}, {summary['memory_mode']}, {clock:.0f} MHz"
    return f"predicted by Vela for {modes}; weights in {summary['weights_storage_area']}"


def _left(operators: list[tflite.Operator]) -> str:
    """The operators that the NPU does not take, by their layers; "" where it takes all."""
    found = Counter((op.layer, op.name) for op in operators if op.name != _ON_NPU)
    layers: dict[str, list[str]] = {}
    for (layer, name), count in found.items():
        layers.setdefault(layer, []).append(f"{count} x {name}" if count > 1 else name)
    return "; ".join(f"{', '.join(names)} ({layer or 'in no layer'})" for layer, names in layers.items())
