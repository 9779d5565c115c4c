"""LiteRT for Microcontrollers: the memory that a model needs where there is no more than it needs.

Its interpreter runs here as it does on a board, in an arena of a given size. The smallest in which a model
loads is measured, and its outputs are bit by bit the board's. How long it takes there, this machine cannot
tell.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raysearch.backends import tflite
from raysearch.backends.base import Array, Feed, Form, MeasurementError, Source
from raysearch.backends.runtimes.litert import LiteRtModel, Port, interpreter, missing
from raysearch.basics import extras
from raysearch.basics.quiet import silent

EXTRA = "tflite-micro"
_GRAIN = 16  # bytes, to which its tensors are aligned
_FIRST, _LARGEST = 2**16, 2**28  # bytes of an arena that are tried


@dataclass(frozen=True, kw_only=True)
class TfliteMicro:
    """The target "tflite-micro": any microcontroller with enough memory; no latency."""

    runtime: str = "tflite-micro"
    name: str = "tflite-micro"
    package: ClassVar[str] = "tflite-micro"
    form: ClassVar[Form] = "litert"
    figures: ClassVar[Mapping[str, Source]] = {"peak_memory_mb": "measured", "flash_mb": "measured"}
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset({2, 4, 8})  # those below 8 bits as 8
    sparse: ClassVar[frozenset[str]] = frozenset()
    finalists_only: ClassVar[bool] = False
    integers_only: ClassVar[bool] = False
    threads: ClassVar[int] = 1
    batch: ClassVar[int] = 1

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        return missing("tflite_micro", EXTRA) or missing("ai_edge_litert", EXTRA)

    def weight_bits(self) -> int:
        """8: it sums in 32 bits."""
        return 8

    def version(self) -> str:
        """The package's version, which names the day of the source."""
        return version("tflite-micro")

    def device(self) -> str:
        """No device in particular."""
        return "a microcontroller"

    def clock(self) -> Callable[[], int]:
        """No inference is timed: the wall's."""
        return time.perf_counter_ns

    def estimate(self, path: Path, example: Feed) -> tuple[dict[str, float], list[str]]:
        """See ``arena_figures``."""
        return arena_figures(path)

    def load(self, path: Path, *, optimize: bool = True) -> MicroModel:
        """The file in the interpreter for microcontrollers.

        Args:
            path: the .tflite file.
            optimize: makes no difference.

        Raises:
            MeasurementError: it is no .tflite file, or an operator in it has no kernel, which is named.
        """
        known = interpreter(path, self.name, "reference")
        with silent() as said:
            try:
                micro = _interpreter(path.read_bytes(), _LARGEST)
            except RuntimeError as error:
                raise MeasurementError(_refusal(path, said())) from error
        return MicroModel(known, path.name, micro)


def arena_figures(path: Path) -> tuple[dict[str, float], list[str]]:
    """The memory that a file needs: what it takes to load it (by bisection), and the file itself.

    Args:
        path: a .tflite file.

    Returns:
        ``peak_memory_mb``: the smallest arena that it loads in, to 16 bytes; ``flash_mb``: the file. And what
        they leave out, in words.

    Raises:
        MissingExtra: tflite-micro is not installed.
        MeasurementError: it is no .tflite file, or an operator in it has no kernel, which is named.
    """
    extras.check("tflite_micro", EXTRA)
    tflite.operators(path)  # a file of another kind is refused here: the interpreter itself checks nothing
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main(sys.argv[1])"
    command = [sys.executable, "-c", code, str(path.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError(_refusal(path, done.stderr))
    values = {"peak_memory_mb": int(done.stdout) / 1e6, "flash_mb": path.stat().st_size / 1e6}
    return values, ["the interpreter's own code and stack are not counted: they depend on the board"]


def main(path: str) -> None:
    """Print the smallest arena in bytes that a file loads in; the process ends with 1 where there is none."""
    content = Path(path).read_bytes()
    low, high = 0, _FIRST
    while not _loads(content, high):
        low, high = high, 2 * high
        if high > _LARGEST:
            sys.exit(1)
    while high - low > _GRAIN:
        middle = (low + high) // 2 // _GRAIN * _GRAIN
        low, high = (low, middle) if _loads(content, middle) else (middle, high)
    print(high)


class MicroModel(LiteRtModel):
    """A .tflite file in the interpreter for microcontrollers."""

    def __init__(self, known: Any, name: str, micro: Any) -> None:
        super().__init__(known, name)
        self._micro = micro
        self._places = [int(given["index"]) for given in known.get_input_details()]

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, of this machine's making: it says nothing about a microcontroller's time."""
        self._bind(feed)
        invoke: Callable[[], object] = self._micro.invoke
        return invoke

    def _run(self, feed: Feed) -> list[Array]:
        self._bind(feed)
        self._micro.invoke()
        given = (self._micro.get_output(place) for place in range(len(self._outputs)))
        return [port.values(codes) for port, codes in zip(self._outputs, given, strict=True)]

    def _set(self, port: Port, codes: Array) -> None:
        self._micro.set_input(np.ascontiguousarray(codes), self._places.index(port.index))


def _interpreter(content: bytes, arena: int) -> Any:
    return extras.load("tflite_micro", EXTRA).runtime.Interpreter.from_bytes(content, arena_size=arena)


def _loads(content: bytes, arena: int) -> bool:
    """Whether a model loads, in a process of its own: one that is far too small ends the process."""
    child = os.fork()
    if child == 0:
        try:
            _interpreter(content, arena)
        except RuntimeError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _refusal(path: Path, said: str) -> str:
    """What is wrong with a file, from the interpreter's complaints: the operator, and its layers."""
    found = re.search(r"opcode '(\w+)'", said)
    if found is None:
        lines = [line for line in said.splitlines() if line.strip()]
        return f"tflite-micro cannot load {path.name}: {lines[-1] if lines else 'it ends the process'}"
    layers = dict.fromkeys(op.layer for op in tflite.operators(path) if op.name == found[1])
    where = ", ".join(layer for layer in layers if layer) or path.name
    return f"tflite-micro has no kernel for {found[1]} ({where})"
