"""Which variants cannot be told apart in a metric, by what they gave on parts of the test split."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raysearch.objectives import Goals
from raysearch.record.journal import TrialRecord

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


def outdone_by(trial: TrialRecord, others: Sequence[TrialRecord], goals: Goals) -> TrialRecord | None:
    """Another variant that is better in some objective, and worse in none by more than its noise."""
    own = goals.costs(trial.values)
    for other in others:
        if other is trial:
            continue
        behind = goals.costs(other.values) - own
        tied = np.array([are_tied(trial, other, metric) for metric in goals.metrics])
        if tied.any() and np.all(tied | (behind <= 0)) and np.any(~tied & (behind < 0)):
            return other
    return None
