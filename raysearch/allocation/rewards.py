"""The studies' rewards of a pruning ratio: spiked and discontinuous where the accuracy meets its floor.

With d the accuracy above the floor and e the size above the cap (MB):
accuracy 100 exp(-d^2 / 40) for 0 <= d <= 0.01, else 100 exp(-|d|^1.5 / 32); time 100 exp(-t^2 / (2 * 0.8^2));
size 100 exp(-e^2 / 40) over the cap, 100 at it; and a bonus of 2 d + (cap - size) / 2 where both limits are
kept.
"""

from __future__ import annotations

import numpy as np

from raysearch.allocation.curves import Floats
from raysearch.allocation.problem import Problem

WEIGHTS = np.array([10.0, 1.0, 1.0]) / 12  # of accuracy, time and size in a branch's reward
_MET = 0.01  # points above the floor that count as meeting it
_TIME_SPREAD = 0.8  # ms


def branch_rewards(problem: Problem, ratios: Floats) -> Floats:
    """The reward of each branch of instance A's study, for ratios of shape (k, n): (k, n)."""
    above = problem.accuracies(ratios) - problem.floor
    size = problem.sizes(ratios)
    excess = size - problem.caps
    within = np.where(excess < 0, 0.5 * (99 + size / problem.caps), 49.5)
    size_term = np.where(excess > 0, 49.5 * _bell(excess), within)
    time_term = 10 * time_reward(problem.times(ratios))
    x, y, z = WEIGHTS
    return np.asarray(
        x * accuracy_reward(above) + y * time_term + z * size_term + bonus(above, excess) + ratios / 2
    )


def ratio_reward(
    ratios: Floats, accuracy: Floats, size: Floats, time: Floats, floor: float, cap: float
) -> Floats:
    """The reward of one ratio of instance B's study, with A's accuracy term (its own is lost); shape (k,)."""
    above, excess = accuracy - floor, size - cap
    within = np.where(excess < 0, 100 + cap / size, 100.0)
    size_term = np.where(excess > 0, 100 * _bell(excess), within)
    return np.asarray(
        accuracy_reward(above) + 100 * time_reward(time) + size_term + bonus(above, excess) + 10 * ratios
    )


def accuracy_reward(above: Floats) -> Floats:
    """Of an accuracy so many points above the floor; at most 100, at the floor."""
    return np.asarray(
        100 * np.where((above >= 0) & (above <= _MET), _bell(above), np.exp(-(np.abs(above) ** 1.5) / 32))
    )


def time_reward(time: Floats) -> Floats:
    """Of a time in ms; 1 at 0."""
    return np.asarray(np.exp(-(time**2) / (2 * _TIME_SPREAD**2)))


def bonus(above: Floats, excess: Floats) -> Floats:
    """For what is left of both limits where both are kept, else 0."""
    return np.asarray(np.where((above >= 0) & (excess <= 0), 2 * above - excess / 2, 0.0))


def _bell(value: Floats) -> Floats:
    return np.asarray(np.exp(-(value**2) / 40))
