"""Which models to measure, so that all others are predicted best: those of which the least is known.

Greedy maximisation of the determinant of the information (D-optimality), by the prior of ``prior``: a handful
of models that differ as much as the candidates do. It needs no measurement, so that it also says which to
begin with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysearch.backends.predictor.predictor import check_features
from raysearch.backends.predictor.prior import OVERHEAD
from raysearch.backends.predictor.terms import Features, Floats, Terms
from raysearch.basics.failures import UserError

_STRENGTH = 10.0  # of every group, in units of the noise


def most_informative(
    candidates: Sequence[Features], count: int, measured: Sequence[Features] = ()
) -> list[int]:
    """The candidates to measure next, as their places in the order of measuring.

    Args:
        candidates: features of models that could be measured.
        count: how many are wanted; fewer are given where there are fewer.
        measured: features of those measured already.

    Raises:
        UserError: a feature is no finite number from 0 on, no model has any, or the count is negative.
    """
    if count < 0:
        raise UserError(f"count is {count}: it is from 0 on")
    models = [*candidates, *measured]
    check_features(models)
    if not candidates:
        return []
    readings = Terms(models).readings(models)
    groups = [group for reading in readings for group in (reading.totals, reading.kinds)]
    # Noise is relative: a small model tells as much of what it has as a large one does.
    costs = OVERHEAD + (1 - OVERHEAD) * np.mean([reading.guess for reading in readings], axis=0)
    rows = np.hstack([_STRENGTH * np.hstack(groups), np.ones((len(models), 1))]) / costs[:, None]
    chosen: list[int] = []
    for place in range(len(candidates), len(models)):
        rows = _without(rows, place)
    for _ in range(min(count, len(candidates))):
        left = (rows[: len(candidates)] ** 2).sum(axis=1)
        left[chosen] = -1.0
        chosen.append(int(left.argmax()))
        rows = _without(rows, chosen[-1])
    return chosen


def _without(rows: Floats, place: int) -> Floats:
    """The rows, less what a measurement of one of them tells: its direction shrinks to the noise's size."""
    row = rows[place]
    variance = row @ row
    share = (1 - 1 / np.sqrt(1 + variance)) / max(variance, 1e-300)
    changed: Floats = rows - share * np.outer(rows @ row, row)
    return changed
