"""Which models need no measurement of their own: those whose cost the measured ones tell narrowly enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from raysearch.backends.predictor.predictor import Predictor, fit
from raysearch.backends.predictor.terms import Features

TOLERANCE = 0.2
"""The relative half-width of the 90 % interval up to which a prediction takes a measurement's place."""
_FEWEST = 10  # measured models of a run, before which nothing is predicted
_LATEST = 64  # of them that a predictor is made of: they are the most like what comes, and it takes n**3
_AWAY = 2.0  # half-widths that a prediction lies away from a limit which decides on it


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
        known: a predictor of the same device from before, or of others.
        limits: costs at which something is decided, such as a constraint's: what may lie on either side of
            one is measured.
        tolerance: see ``TOLERANCE``.
    """

    def __init__(
        self, known: Sequence[Predictor] = (), limits: Sequence[float] = (), tolerance: float = TOLERANCE
    ) -> None:
        self._known, self._limits, self._tolerance = tuple(known), tuple(limits), tolerance
        self._measured: deque[tuple[Features, float]] = deque(maxlen=_LATEST)
        self._made: Predictor | None = None

    def learn(self, model: Features, cost: float) -> None:
        """Take in a measurement."""
        self._measured.append((model, cost))
        self._made = None

    def sure(self, model: Features) -> Sure | None:
        """The cost of a model, where it need not be measured."""
        if len(self._measured) < _FEWEST:
            return None
        if self._made is None:
            models, costs = zip(*self._measured, strict=True)
            self._made = fit(models, costs, self._known)
        found = self._made.predict([model])
        mean, low, high = (float(costs[0]) for costs in (found.mean, found.low, found.high))
        half = (high - low) / 2
        if half > self._tolerance * mean or any(abs(mean - at) < _AWAY * half for at in self._limits):
            return None
        return Sure(mean, low, high, len(self._measured))
