"""Which of the trials that wait at a step promises the largest gain in hypervolume.

What is known of them is taken as it is: latency, size and whatever else does not change in training. Only
what training will bring is modelled, by Gaussian processes that see, beside the parameters, the metrics that
trials had at this step. So which trial to go on with is decided as which one to begin is: by expected gain.

References:
    Swersky, K., Snoek, J., & Adams, R. P. (2014). Freeze-thaw Bayesian optimization.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.searchers.encoding import Vector
from raysearch.searchers.model_based.evidence import Evidence, Mask
from raysearch.searchers.model_based.gaussian_process import Kernel, Posterior
from raysearch.searchers.model_based.improvement import expected_improvement
from raysearch.searchers.model_based.scaling import scaled

_KNOWN = 1e-3  # the deviation of what is known, in widths of the front
_LEAST = 4  # fewer trials that went on say nothing about what training brings
_FITTED = 128
_HOPELESS = -500.0  # the logarithm of a worth that tells nothing apart


@dataclass(frozen=True)
class Limits:
    """What the goals allow.

    Attributes:
        highest: the highest cost allowed by objective, shape (m,), inf where none is.
        said: which constraints that says, shape (c,).
        known: which of the objectives and constraints do not change in training, shape (m + c,).
    """

    highest: Vector
    said: Mask
    known: Mask


@dataclass(frozen=True)
class Group:
    """Trials that wait at one step.

    Attributes:
        rows: of the evidence, at least one.
        step: where they wait.
        features: of all rows of the evidence, what they had at this step among them, shape (n, f).
    """

    rows: NDArray[np.intp]
    step: int
    features: Vector


def most_promising(
    evidence: Evidence,
    group: Group,
    waiting: NDArray[np.intp],
    limits: Limits,
    kernel: Kernel,
    thetas: Vector,
    rays: Vector,
    rng: np.random.Generator,
) -> tuple[float, int, Vector] | None:
    """The row of a group with the largest expected gain, times the probability that it keeps the constraints.

    Args:
        evidence: the trials.
        group: those to choose from.
        waiting: all rows that wait, in this group and others: they are not believed to go on.
        limits: what the goals allow.
        kernel: over the group's features.
        thetas: its hyperparameters for each target, shape (m + c, h).
        rays: of ``expected_improvement``.
        rng: decides which rows hyperparameters are fitted on.

    Returns:
        The logarithm of its worth, the row, and improved hyperparameters; None where too few trials went on
        to say anything, or none promises a gain.
    """
    from scipy.special import log_ndtr  # type: ignore[import-untyped]

    m = len(limits.highest)
    trained = np.flatnonzero(~limits.known).tolist()
    features, rows_of = group.features, group.rows
    useful = (evidence.steps > group.step)[:, None] & np.isfinite(evidence.targets)
    if (useful[:, trained].sum(axis=0) < _LEAST).any():
        return None
    targets, noise, front, reference = scaled(evidence, limits.highest)
    thetas = thetas.copy()
    means, deviations = targets[rows_of].copy(), np.full((len(rows_of), targets.shape[1]), _KNOWN)
    training = np.setdiff1d(np.flatnonzero(evidence.running), waiting)
    for i in trained:
        rows = np.flatnonzero(useful[:, i])
        some = np.sort(rng.permutation(rows)[:_FITTED])
        thetas[i] = kernel.fitted(thetas[i], features[some], targets[some, i], noise[some, i])
        posterior = Posterior.of(kernel, thetas[i], features[rows], targets[rows, i], noise[rows, i])
        means[:, i], deviations[:, i] = posterior(features[rows_of])
        if len(training):
            unknown = training[np.isnan(targets[training, i])]
            targets[unknown, i] = posterior(features[unknown])[0] if len(unknown) else []
    known = np.isfinite(means).all(axis=1)
    worth = np.zeros(len(rows_of))
    for j in range(m, targets.shape[1]):
        if not (limits.said[j - m] and len(front)):
            worth += log_ndtr(-means[:, j] / deviations[:, j])
    if len(front):
        believed = np.concatenate([front, targets[training, :m]])
        believed = believed[np.isfinite(believed).all(axis=1)]
        gain = expected_improvement(means[:, :m], deviations[:, :m], believed, reference, rays)
        worth += np.log(np.maximum(gain, 1e-300))
    worth = np.where(known, worth, -np.inf)
    if worth.max() < _HOPELESS:
        return None
    return float(worth.max()), int(rows_of[np.argmax(worth)]), thetas


def as_features(values: Sequence[Sequence[float]]) -> Vector:
    """What trials reported as their ranks from 0 to 1, shape (n, s); what is unknown stands in the middle.

    Ranks, for hopeless trials would press the others together.
    """
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    seen = np.asarray(values, dtype=np.float64)
    ranked = np.full(seen.shape, 0.5)
    for column, known in zip(ranked.T, seen.T, strict=True):
        finite = np.isfinite(known)
        column[finite] = (rankdata(known[finite]) - 0.5) / max(finite.sum(), 1)
    return ranked
