"""Which models need no measurement of their own: those whose cost the measured ones tell narrowly enough.

How wide an interval is a device has to show: each model that is measured is predicted first, and intervals
are widened until they would have held nine in ten of the latest (conformal prediction: Vovk, Gammerman &
Shafer, "Algorithmic learning in a random world", 2005). What may be the cheapest of all is measured: there a
predictor extrapolates, and says too much (by 6 to 14 % on GPUs).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysearch.backends.predictor.predictor import COVERAGE, Predictor, fit
from raysearch.backends.predictor.terms import Features, Floats

TOLERANCE = 0.2
"""The relative half-width of the 90 % interval up to which a prediction takes a measurement's place."""
_FEWEST = 10  # measured models, before which nothing is predicted; then as many that were, before any is sure
_LATEST = 64  # measured models that a predictor is made of: the most like what comes, and it takes n**3
_JUDGED = 20  # of the latest predictions, by which intervals are widened
_AWAY = 2.0  # half-widths that a prediction lies away from what decides on it


@dataclass(frozen=True)
class Sure:
    """A prediction that takes a measurement's place.

    Attributes:
        mean: the cost.
        low, high: its 90 % interval.
        models: measured ones that it was made of.
    """

    mean: float
    low: float
    high: float
    models: int


class Sparing:
    """What the measured models of a target say of the next ones.

    Args:
        known: a predictor of the same device from before; it speaks, and is judged, until twenty models
            are measured.
        limits: costs at which something is decided, such as a constraint's: what may lie on either side of
            one is measured.
        tolerance: see ``TOLERANCE``.
    """

    def __init__(
        self, known: Predictor | None = None, limits: Sequence[float] = (), tolerance: float = TOLERANCE
    ) -> None:
        self._limits, self._tolerance = tuple(limits), tolerance
        self._enough = _FEWEST if known is None else 2 * _FEWEST
        self._new: list[tuple[Features, float]] = []
        self._measured: deque[tuple[Features, float]] = deque(maxlen=_LATEST)
        self._off: deque[float] = deque(maxlen=_JUDGED)
        self._made = known
        self._cheapest = math.inf

    def learn(self, model: Features, cost: float) -> None:
        """Take in a measurement."""
        self._new.append((model, cost))
        self._cheapest = min(self._cheapest, cost)

    def sure(self, model: Features) -> Sure | None:
        """The cost of a model, where it need not be measured."""
        while len(self._new) >= (1 if self._made else _FEWEST):
            self._take_in()
        if self._made is None or len(self._off) < _FEWEST:
            return None
        (mean,), (half,) = self._predicted([model])
        half *= self._widened()
        if half > self._tolerance * mean or mean - _AWAY * half < self._cheapest:
            return None
        if any(abs(mean - at) < _AWAY * half for at in self._limits):
            return None
        return Sure(float(mean), float(mean - half), float(mean + half), len(self._measured))

    def _take_in(self) -> None:
        """See how far off a few new ones are, then learn from them."""
        some, self._new = self._new[:_FEWEST], self._new[_FEWEST:]
        if self._made is not None:
            mean, half = self._predicted([model for model, _ in some])
            costs = np.array([cost for _, cost in some])
            self._off.extend((np.abs(costs - mean) / np.maximum(half, 1e-300)).tolist())
        self._measured.extend(some)
        if len(self._measured) >= self._enough:
            models, known = zip(*self._measured, strict=True)
            self._made = fit(models, known)

    def _predicted(self, models: Sequence[Features]) -> tuple[Floats, Floats]:
        """Means and half-widths of the predictor's own intervals, shape (m,) each."""
        assert self._made is not None
        found = self._made.predict(models)
        return found.mean, (found.high - found.low) / 2

    def _widened(self) -> float:
        """The factor by which intervals are widened, so that the latest judged would be held; at least 1."""
        off = sorted(self._off)
        return max(1.0, off[min(len(off), math.ceil(COVERAGE * (len(off) + 1))) - 1])
