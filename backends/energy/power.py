"""Energy: the joules of repeated inference, less what the device draws at rest.

Nothing is estimated: what load and a data sheet's power would give is no measurement. A counter is read where
it moves, from tick to tick: NVML's moves some ten times a second only.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from raysearch.backends.base import MeasurementError

# Six windows are what the 95 % interval of a median needs: it is that from the smallest to the largest.
_WINDOWS, _BUSY_S, _IDLE_S = 6, 0.3, 0.15
_CHUNK_S = 0.002
_REST_S = 0.002
_SAMPLES = 3  # of a power, at least, in a window
_PATIENCE_S = 5.0

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
        millijoules: NaN where the device drew no more than at rest, beyond noise, as beside another load.
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
    span = median(w.seconds / (w.steps * calls) for w in windows)
    error = math.hypot((max(used) - min(used)) / 2, idle.error * span)
    return Energy(1e3 * one, error / one) if one > error else Energy(math.nan, math.inf)


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
