"""What a metric seen early says about its final value, learnt from the trials that went on.

For a trial last seen at step s, final values are regressed on values at s over the finished trials that
reported both. The slope is drawn towards 1, for those that went on are the better ones; what the line leaves
unexplained is the estimate's variance.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from raysearch.searchers.encoding import Vector

History = Mapping[str, float]
"""Values by stage (``stage_of`` a step, as text)."""

_PAIRS = 4  # fewer finished trials than this say nothing about a stage
_PRIOR = 2.0  # how many pairs the prior slope of 1 is worth
_LEAST = 1e-12  # the least variance, in units of the largest square: any unit of the metric will do


def stage_of(step: int) -> str:
    """The stage of a step: stages grow by a factor of the square root of 2, so a curve has few."""
    return str(round(2 * math.log2(max(step, 1))) if step > 0 else -1)


def final_values(histories: Sequence[History], finals: Vector) -> tuple[Vector, Vector]:
    """Estimates of the final values and their variances, each of shape (n,); NaN where nothing is known.

    Args:
        histories: of each trial.
        finals: the final value where a trial finished, shape (n,); NaN where it did not.
    """
    estimates, variances = finals.copy(), np.where(np.isfinite(finals), 0.0, np.nan)
    waiting: dict[str, list[int]] = defaultdict(list)
    for i in np.flatnonzero(np.isnan(finals)).tolist():
        if histories[i]:
            waiting[max(histories[i], key=int)].append(i)
    known = np.flatnonzero(np.isfinite(finals)).tolist()
    for stage, rows in waiting.items():
        pairs = np.array([(histories[i][stage], finals[i]) for i in known if stage in histories[i]])
        pairs = pairs.reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        if len(pairs) >= _PAIRS:
            seen = np.array([histories[i][stage] for i in rows])
            estimates[rows], variances[rows] = _line(pairs[:, 0], pairs[:, 1], seen)
    return estimates, variances


def _line(early: Vector, final: Vector, seen: Vector) -> tuple[Vector, Vector]:
    """Values on the line from early to final at seen (k,), and the variance about it."""
    least = _LEAST * (np.square(final).max() or 1.0)
    centre, spread = early.mean(), early.var() or least
    weight = _PRIOR / len(early)
    slope = (((early - centre) * (final - final.mean())).mean() + weight * spread) / (spread * (1 + weight))
    residual = final - final.mean() - slope * (early - centre)
    variance = residual.var() * (1 + weight) + least
    leverage = 1 + (1 + np.square(seen - centre) / spread) / len(early)
    return final.mean() + slope * (seen - centre), variance * leverage
