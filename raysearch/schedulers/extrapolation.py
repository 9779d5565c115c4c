"""Where a learning curve will end, with its uncertainty, learned from the curves of the other trials.

A curve is the best cost so far. Its distance to a floor just below the best of all trials is followed in
logarithms, z = log(cost - floor), so that a power law is a straight line over log(step), and any shift or
scale of the cost changes nothing. From one step of a geometric grid to the next

    z' = z + slope * log(step' / step) + a + b * (z - mean) + noise

is a ridge regression over the trials that reached both, good ones weighing most; without any, the power law
is left. The chain of the regressions gives mean and variance of z at the last step.

References:
    Swersky, K., Snoek, J., & Adams, R. P. (2014). Freeze-thaw Bayesian optimization.
    Domhan, T., Springenberg, J. T., & Hutter, F. (2015). Speeding up automatic hyperparameter optimization of
        deep neural networks by extrapolation of learning curves. (power laws)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

_GROWTH = 1.3  # of the grid of steps
_MARGIN = 0.02  # how far the floor lies below the best, as a share of its distance to the best quarter
_MOST = 512  # trials that a regression is fitted on, the newest
_PRIOR = 3.0  # how many trials the power law weighs
_GOOD = 5.0  # how many times more the best trial weighs than the worst, less one


def grid(last: int) -> Integers:
    """Steps 1 to ``last`` at which curves are kept, about geometric, shape (g,)."""
    steps, exact = [1], 1.0
    while steps[-1] < last:
        exact *= _GROWTH
        steps.append(min(last, max(steps[-1] + 1, round(exact))))
    return np.array(steps, dtype=np.intp)


@dataclass(frozen=True)
class Extrapolation:
    """One objective's model: z at the last step is ``level + gain * z``, give or take ``spread``.

    Attributes:
        floor: the cost that no curve is taken to go below.
        scale: the distance from the best cost to the best quarter.
        level: at each step of the grid, shape (g,).
        gain: the same.
        spread: the same, a variance.
    """

    floor: float
    scale: float
    level: list[float]
    gain: list[float]
    spread: list[float]

    @classmethod
    def fit(cls, steps: Integers, curves: Floats, costs: Floats) -> Extrapolation:
        """Learn from curves of shape (n, g), NaN where not seen, and latest costs of shape (n,)."""
        best = float(costs.min())
        tiny = 1e-9 * max(abs(best), 1e-100)
        scale = max(float(np.quantile(costs, 0.25)) - best, tiny)
        floor = best - _MARGIN * scale
        z, log_steps = _logs(curves, floor, scale), np.log(steps)
        widths = np.diff(log_steps)
        slope, noise = _power_law(z, widths)
        prior_variance = float(_logs(costs, floor, scale).var()) + 1e-6
        level, gain, spread = np.zeros(len(steps)), np.ones(len(steps)), np.zeros(len(steps))
        for j in range(len(steps) - 2, -1, -1):
            a, b, variance = _transition(
                z[:, j], z[:, j + 1], slope * widths[j], noise * widths[j], prior_variance
            )
            level[j] = level[j + 1] + gain[j + 1] * a
            spread[j] = spread[j + 1] + gain[j + 1] ** 2 * variance
            gain[j] = gain[j + 1] * b
        return cls(floor, scale, level.tolist(), gain.tolist(), spread.tolist())

    def finals(self, steps: Integers, at: Integers, costs: Floats, normals: Floats) -> Floats:
        """The final costs at these standard normal deviates, never above the cost so far, shape (q, k).

        Args:
            steps: the grid.
            at: the step of each trial, shape (q,).
            costs: its best cost so far, shape (q,).
            normals: shape (k,).
        """
        log_at, log_steps = np.log(np.maximum(at, 1)), np.log(steps)
        level, gain, spread = (
            np.interp(log_at, log_steps, part) for part in (self.level, self.gain, self.spread)
        )
        z = level + gain * _logs(costs, self.floor, self.scale)
        with np.errstate(over="ignore"):
            final = self.floor + self.scale * np.exp(z[:, None] + np.sqrt(spread)[:, None] * normals)
        result: Floats = np.minimum(final, costs[:, None])
        return result

    def state(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Extrapolation:
        """From what ``state`` returned."""
        return cls(**state)


def _logs(costs: Floats, floor: float, scale: float) -> Floats:
    """log(cost - floor) in units of the scale, so that no unit of the cost matters."""
    result: Floats = np.log(np.maximum((costs - floor) / scale, 1e-6))
    return result


def _power_law(z: Floats, widths: Floats) -> tuple[float, float]:
    """The mean slope over log(step) of all curves, and the variance around it per unit of log(step)."""
    steps = np.diff(z, axis=1)
    seen = ~np.isnan(steps)
    if not seen.any():
        return -0.5, 1.0
    slope = float(steps[seen].sum() / (seen * widths).sum())
    squares = np.square(steps - slope * widths) / widths
    return slope, float((squares[seen].sum() + 1.0) / (seen.sum() + 1))


def _transition(
    before: Floats, after: Floats, drift: float, noise: float, prior_variance: float
) -> tuple[float, float, float]:
    """Intercept, factor and variance of z at the next step of the grid, from the trials that reached both."""
    both = np.flatnonzero(~np.isnan(before) & ~np.isnan(after))[-_MOST:]
    if len(both) == 0:
        return drift, 1.0, noise * (1 + 1 / _PRIOR)
    x, change = before[both], after[both] - before[both] - drift
    weights = 1 / (np.argsort(np.argsort(x)) / len(x) * _GOOD + 1)
    total = weights.sum()
    mean = weights @ x / total
    design = np.column_stack([np.ones(len(x)), x - mean])
    normal = design.T @ (weights[:, None] * design) + _PRIOR * np.diag([1.0, prior_variance])
    a, b = np.linalg.solve(normal, design.T @ (weights * change))
    rest = change - a - b * (x - mean)
    variance = (weights @ np.square(rest) + _PRIOR * noise) / (total + _PRIOR) * (1 + 1 / (total + _PRIOR))
    return float(drift + a - b * mean), float(1 + b), float(variance)
