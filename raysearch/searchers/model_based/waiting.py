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
from raysearch.searchers.model_based.improvement import directions, expected_improvement
from raysearch.searchers.model_based.scaling import scaled

_KNOWN = 1e-3  # the deviation of what is known, in widths of the front
_LEAST = 4  # fewer trials that went on say nothing about what training brings
_FITTED = 128


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


def most_promising(
    evidence: Evidence,
    features: Vector,
    waiting: NDArray[np.intp],
    step: int,
    limits: Limits,
    kernel: Kernel,
    thetas: Vector,
    rng: np.random.Generator,
) -> tuple[int, Vector] | None:
    """The waiting row with the largest expected gain, times the probability that it keeps the constraints.

    Args:
        evidence: the trials.
        features: of all of them, what they had at the step among them, shape (n, f).
        waiting: rows of ``evidence``, at least one.
        step: where they wait.
        limits: what the goals allow.
        kernel: over these features.
        thetas: its hyperparameters for each target, shape (m + c, h).
        rng: decides which rows hyperparameters are fitted on.

    Returns:
        The row and improved hyperparameters; None where too few trials went on to say anything.
    """
    from scipy.special import log_ndtr  # type: ignore[import-untyped]

    m = len(limits.highest)
    trained = np.flatnonzero(~limits.known).tolist()
    useful = (evidence.steps > step)[:, None] & np.isfinite(evidence.targets)
    if (useful[:, trained].sum(axis=0) < _LEAST).any():
        return None
    targets, noise, front, reference = scaled(evidence, limits.highest)
    thetas = thetas.copy()
    means, deviations = targets[waiting].copy(), np.full((len(waiting), targets.shape[1]), _KNOWN)
    training = np.setdiff1d(np.flatnonzero(evidence.running), waiting)
    for i in trained:
        rows = np.flatnonzero(useful[:, i])
        some = np.sort(rng.permutation(rows)[:_FITTED])
        thetas[i] = kernel.fitted(thetas[i], features[some], targets[some, i], noise[some, i])
        posterior = Posterior.of(kernel, thetas[i], features[rows], targets[rows, i], noise[rows, i])
        means[:, i], deviations[:, i] = posterior(features[waiting])
        if len(training):
            unknown = training[np.isnan(targets[training, i])]
            targets[unknown, i] = posterior(features[unknown])[0] if len(unknown) else []
    known = np.isfinite(means).all(axis=1)
    worth = np.zeros(len(waiting))
    for j in range(m, targets.shape[1]):
        if not (limits.said[j - m] and len(front)):
            worth += log_ndtr(-means[:, j] / deviations[:, j])
    if len(front):
        believed = np.concatenate([front, targets[training, :m]])
        believed = believed[np.isfinite(believed).all(axis=1)]
        gain = expected_improvement(means[:, :m], deviations[:, :m], believed, reference, directions(m, rng))
        worth += np.log(np.maximum(gain, 1e-300))
    if not known.any():
        return None
    return int(waiting[np.argmax(np.where(known, worth, -np.inf))]), thetas


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
