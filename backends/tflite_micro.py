"""LiteRT for Microcontrollers: the memory that a model needs where there is no more than it needs.

Its interpreter runs here as it does on a board, in an arena of a given size. The smallest in which a model
loads is measured, and its outputs are bit by bit the board's. How long it takes there, this machine cannot
tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from raysearch.backends import tflite
from raysearch.backends.base import Array, Feed, Form, MeasurementError
from raysearch.backends.litert import LiteRtModel, Port, interpreter, missing
from raysearch.basics import extras
from raysearch.basics.failures import first_line
from raysearch.basics.quiet import silent

EXTRA = "tflite-micro"
_GRAIN = 16  # bytes, to which its tensors are aligned
_LARGEST = 2**30


class TfliteMicro:
    """The target "tflite-micro": any microcontroller with enough memory; no latency."""

    name = "tflite-micro"
    runtime = "tflite-micro"
    form: Form = "litert"
    suffix = ".tflite"
    channel_multiple = 8
    integers = frozenset({2, 4, 8})  # those below 8 bits as 8
    sparse: frozenset[str] = frozenset()
    threads = 1

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

    def load(self, path: Path, *, optimize: bool = True) -> MicroModel:
        """The file in the interpreter for microcontrollers.

        Args:
            path: the .tflite file.
            optimize: makes no difference.

        Raises:
            MeasurementError: it is no .tflite file, or an operator in it has no kernel, which is named.
        """
        known = interpreter(path, self.name, "reference")
        content = path.read_bytes()
        arena = _loadable(content, path)
        return MicroModel(known, path.name, _interpreter(content, arena))


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
    tflite.operators(path)  # a file of another kind is refused here: the interpreter itself checks nothing
    content = path.read_bytes()
    high, low = _loadable(content, path), 0
    while high - low > _GRAIN:
        middle = (low + high) // 2 // _GRAIN * _GRAIN
        low, high = (low, middle) if _loads(content, middle) else (middle, high)
    values = {"peak_memory_mb": high / 1e6, "flash_mb": len(content) / 1e6}
    return values, ["the interpreter's own code and stack are not counted: they depend on the board"]


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
    try:
        with silent():
            _interpreter(content, arena)
    except RuntimeError:
        return False
    return True


def _loadable(content: bytes, path: Path) -> int:
    """A size of arena that is large enough, found by doubling."""
    arena = 2**14
    while True:
        try:
            with silent() as said:
                _interpreter(content, arena)
            return arena
        except RuntimeError as error:
            if "Didn't find op" in said():
                raise MeasurementError(f"tflite-micro has no kernel for {_missing(said(), path)}") from error
            if arena >= _LARGEST:
                raise MeasurementError(
                    f"tflite-micro cannot load {path.name}: {first_line(error)}"
                ) from error
        arena *= 2


def _missing(said: str, path: Path) -> str:
    """The operator that the interpreter's complaint names, with the layers in which it occurs."""
    found = re.search(r"opcode '(\w+)'", said)
    name = found[1] if found else "an operator"
    layers = dict.fromkeys(op.layer for op in tflite.operators(path) if op.name == name)
    return f"{name} ({', '.join(layer for layer in layers if layer) or path.name})"
