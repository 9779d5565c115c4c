"""A simulated machine of known power, for the tests of energy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raysearch.backends.energy.power import Counter, Energy, energy_of, idle_power


class Machine:
    """A machine whose clock moves when it rests or works, and that draws a known power at each.

    Inferences take ``ms`` on average, up to a fifth more or less. Its counter moves every ``tick_s``.
    An inference is launched in no time; ``finish`` waits for all that were, as on a GPU.
    """

    def __init__(self, idle_w: float, busy_w: float, ms: float, tick_s: float = 0.0) -> None:
        self.now_s = self.joules = self.shown = self._ticked = 0.0
        self._idle_w, self._busy_w, self._ms, self._tick_s = idle_w, busy_w, ms, tick_s
        self._waiting = 0
        self._rng = np.random.default_rng(0)

    def _pass(self, seconds: float, watts: float) -> None:
        self.now_s += seconds
        self.joules += seconds * watts
        if self.now_s - self._ticked >= self._tick_s:
            self.shown, self._ticked = self.joules, self.now_s

    def rest(self, seconds: float) -> None:
        self._pass(seconds, self._idle_w)

    def infer(self) -> None:
        self._waiting += 1

    def finish(self) -> None:
        for _ in range(self._waiting):
            self._pass(self._ms / 1e3 * self._rng.uniform(0.8, 1.2), self._busy_w)
        self._waiting = 0

    def read(self) -> float:
        self.rest(2e-5)  # what a reading takes
        return self.shown

    def now(self) -> float:
        return self.now_s

    def energy(self, read: Callable[[], float] | None = None) -> Energy:
        meter = Counter("simulated", read or self.read, self.now)
        return energy_of(self.infer, meter, idle_power(meter, self.rest), self.finish, self.now)
