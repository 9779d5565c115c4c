"""Latencies that a run predicted in place of measuring, and what was measured of the same models later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.basics.figures import is_prediction
from raysearch.record.run_record import RunRecord, TrialRecord


@dataclass(frozen=True)
class Predicted:
    """A latency that was predicted, in ms.

    Attributes:
        trial, target: of which model, and where.
        latency: the prediction.
        low, high: its 90 % interval.
        measured: what was measured later; None where that was spared.
    """

    trial: str
    target: str
    latency: float
    low: float
    high: float
    measured: float | None

    @property
    def error(self) -> float | None:
        """Relative, of those measured: below 0 where the model is slower than was predicted."""
        return None if self.measured is None else self.latency / self.measured - 1

    @property
    def held(self) -> bool:
        """Whether the interval holds the measurement."""
        return self.measured is not None and self.low <= self.measured <= self.high


def predicted_targets(trial: TrialRecord) -> list[str]:
    """The targets whose latency of a trial was predicted and never measured."""
    latest = {m.get("target", ""): m for m in trial.measurements}
    return [target for target, measured in latest.items() if is_prediction(measured)]


def predictions(record: RunRecord) -> list[Predicted]:
    """All that a run predicted, in the order of its trials."""
    found = []
    for trial in record.trials.values():
        for place, m in enumerate(trial.measurements):
            if is_prediction(m):
                low, high = m["interval"]
                later = _measured(trial.measurements[place:], m)
                found.append(Predicted(trial.name, m["target"], m["latency_ms"], low, high, later))
    return found


def _measured(later: Iterable[Mapping[str, Any]], predicted: Mapping[str, Any]) -> float | None:
    """The first latency that was measured after a prediction on the same target."""
    found = (
        m
        for m in later
        if m.get("target") == predicted["target"] and not is_prediction(m) and "latency_ms" in m
    )
    first = next(found, None)
    return None if first is None else float(first["latency_ms"])
