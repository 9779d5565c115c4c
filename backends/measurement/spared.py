"""Measurements that a search can do without: what costs more to measure than it is worth is predicted.

A latency may be predicted for a candidate that only waits to be chosen; whoever goes on is measured. So it is
where models wait for a device, or take long on it: a device that answers at once measures everything.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from raysearch.backends.predictor.predictor import from_state
from raysearch.backends.predictor.sparing import Sparing
from raysearch.backends.predictor.terms import Features

WORTH_S = 5.0
"""The seconds that a figure may take and still be measured: as long as a measurement by itself may last."""
_LATEST = 9  # requests that tell what the next one will take


@dataclass(frozen=True)
class Description:
    """What a model does, as far as its latency depends on it.

    Attributes:
        structure: of the file that is measured; see ``structure_key``.
        operators: see ``predictor.features``.
        spare: whether a prediction will do.
    """

    structure: str
    operators: Features
    spare: bool = True


@dataclass(frozen=True)
class Prediction:
    """A latency that was not measured.

    Attributes:
        target: where it would have been measured.
        structure: the model's structure key.
        latency_ms: for one batch.
        interval: [low, high] in ms; a measurement lies between them with a probability of 90 %.
        noise: half of that, relative.
        models: measured ones that the prediction was made of.
        runtime, version, device, threads, batch: what those ran on, and how.
        source: "predicted".
    """

    target: str
    structure: str
    latency_ms: float
    interval: list[float]
    noise: float
    models: int
    runtime: str
    version: str
    device: str
    threads: int
    batch: int
    source: str = "predicted"


class Seconds:
    """What the latest requests took."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=_LATEST)

    def add(self, seconds: float) -> None:
        """Take in a request."""
        self._latest.append(seconds)

    @property
    def mean(self) -> float:
        """0 before the first."""
        return fmean(self._latest) if self._latest else 0.0

    @property
    def median(self) -> float:
        """0 before the first."""
        return median(self._latest) if self._latest else 0.0


class Spared:
    """What is known of one target.

    Args:
        name: the target's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.seconds = Seconds()
        self._rule: Sparing | None = None
        self._learnt: dict[str, tuple[Features, float]] = {}
        self._latest: Mapping[str, Any] = {}

    def allow(self, known: Mapping[str, Any] | None, limits: Sequence[float]) -> None:
        """From now on predictions will do.

        Args:
            known: the state of a predictor of this device from before.
            limits: latencies in ms at which something is decided; see ``Sparing``.
        """
        self._rule = Sparing(from_state(known) if known else None, limits)
        for operators, latency in self._learnt.values():
            self._rule.learn(operators, latency)

    def learn(self, measured: Mapping[str, Any], operators: Features) -> None:
        """Take in a measurement, each structure once."""
        self._latest = measured
        structure, latency = measured["structure"], float(measured["latency_ms"])
        if structure not in self._learnt and math.isfinite(latency) and latency > 0:
            self._learnt[structure] = operators, latency
            if self._rule is not None:
                self._rule.learn(operators, latency)

    def prediction(self, description: Description) -> dict[str, Any] | None:
        """The latency of a model as a dictionary, where it is known well enough and was never measured."""
        if self._rule is None or description.structure in self._learnt:
            return None
        sure = self._rule.sure(description.operators)
        if sure is None:
            return None
        how = {key: self._latest[key] for key in ("runtime", "version", "device", "threads", "batch")}
        half = (sure.high - sure.low) / 2 / sure.mean
        return asdict(
            Prediction(
                self._name,
                description.structure,
                sure.mean,
                [sure.low, sure.high],
                half,
                sure.models,
                **how,
            )
        )
