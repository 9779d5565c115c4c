"""Which variants cannot be told apart in a metric, by what they gave on parts of the test split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysearch.objectives import Goals
from raysearch.record.run_record import TrialRecord
from raysearch.record.verdicts import compare

# 95 % of Student's t of nine degrees of freedom: there are ten parts.
_QUANTILE = 2.262


def are_tied(one: TrialRecord, other: TrialRecord, metric: str) -> bool:
    """Whether the difference of two variants in a task's metric is no larger than its noise.

    The parts are paired: both variants were given the same examples. What is not known is not tied.
    """
    own, others = one.parts.get(metric), other.parts.get(metric)
    if own is None or others is None or len(own) != len(others):
        return False
    difference = np.subtract(own, others)
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return bool(abs(difference.mean()) <= _QUANTILE * error)


def tied_with(trial: TrialRecord, others: Sequence[TrialRecord], metric: str) -> list[str]:
    """The names of those that a variant cannot be told apart from in a metric."""
    return [other.name for other in others if other is not trial and are_tied(trial, other, metric)]


@dataclass(frozen=True)
class Outdone:
    """A variant that another dominates up to noise.

    Attributes:
        name, by: the two.
        tied: the metrics in which they cannot be told apart, and in which alone the first may be ahead.
    """

    name: str
    by: str
    tied: tuple[str, ...]


def outdone(trial: TrialRecord, others: Sequence[TrialRecord], goals: Goals) -> Outdone | None:
    """Whether another variant is better in some objective beyond noise, and worse in none."""
    own = goals.costs(trial.values)
    for other in others:
        if other is trial:
            continue
        behind = goals.costs(other.values) - own
        tied = np.array([are_tied(trial, other, metric) for metric in goals.metrics])
        gains = zip(goals.metrics, -behind, strict=True)
        better = [_is_better(other, trial, metric, gain) for metric, gain in gains]
        if tied.any() and np.all(tied | (behind <= 0)) and np.any(~tied & better):
            return Outdone(trial.name, other.name, tuple(np.array(goals.metrics)[tied].tolist()))
    return None


def _is_better(one: TrialRecord, other: TrialRecord, metric: str, gain: float) -> bool:
    """Whether a gain is real: of a measured latency, more than the noise of both measurements."""
    name, _, target = metric.partition("/")
    return compare(one, other, target)[1] == "faster" if name == "latency_ms" else gain > 0
