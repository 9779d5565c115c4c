"""What a trial's possible final points would add to a front, and what that is worth per step of training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raysearch.pareto import hypervolume

Floats = NDArray[np.float64]


def gains(points: Floats, front: Floats, reference: float) -> Floats:
    """The hypervolume that each point alone adds to the front, shape (q,).

    Args:
        points: costs, shape (q, m).
        front: costs of any rows, dominated ones included, shape (k, m).
        reference: the reference point's value in each of the m costs.
    """
    front = front[(front < reference).all(axis=1)]
    if points.shape[1] == 1:
        best = front.min(initial=reference)
        result: Floats = np.maximum(0.0, best - points[:, 0])
        return result
    if points.shape[1] == 2:
        return _gains_in_the_plane(points, front, reference)
    corner = np.full(points.shape[1], reference)
    before = hypervolume(front, corner)
    return np.array([max(0.0, hypervolume(np.vstack([front, point]), corner) - before) for point in points])


def _gains_in_the_plane(points: Floats, front: Floats, reference: float) -> Floats:
    """The area between the front's staircase and each point, summed over the stairs."""
    order = np.lexsort((front[:, 0], front[:, 1]))
    heights, starts = np.minimum.accumulate(front[order, 0]), front[order, 1]
    left = np.concatenate([[-np.inf], starts])
    right = np.concatenate([starts, [reference]])
    height = np.concatenate([[reference], heights])
    widths = np.maximum(0.0, right - np.maximum(left, points[:, 1:]))
    result: Floats = (widths * np.maximum(0.0, height - points[:, :1])).sum(axis=1)
    return result


def rate(gain: Floats, remaining: Floats, screening: Floats) -> Floats:
    """The best ratio of expected gain to expected steps that stopping early may reach, shape (q,).

    After ``screening`` steps the gain is taken to be known; only the best outcomes are then trained to the
    end, as many of them as make the ratio highest (an index in the sense of Gittins).

    Args:
        gain: equally likely gains, shape (q, k).
        remaining: the steps to the end, > 0, shape (q,).
        screening: the steps until the gain is known, shape (q,).
    """
    best_first = -np.sort(-gain, axis=1)
    count = np.arange(1, gain.shape[1] + 1)
    screening = np.minimum(screening, remaining)[:, None]
    steps = gain.shape[1] * screening + count * (remaining[:, None] - screening)
    result: Floats = (np.cumsum(best_first, axis=1) / steps).max(axis=1)
    return result
