"""Bayesian linear regression with relative noise of heavy tails, averaged over strengths of the terms.

Given the strengths the coefficients are normal and the noise's scale is inverse gamma, so that everything is
in closed form; single measurements that are far off are weighed down (Lange, Little & Taylor, "Robust
statistical modeling using the t distribution", JASA 1989). A group of more terms than measurements is turned
into the space of the measured models, which loses nothing: what a new model has outside of it adds to its
interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TAILS = 4.0  # degrees of freedom of a single measurement's noise
_NOISE = 0.05  # relative, before anything is measured
_NOISE_COUNTS = 1.0  # as how many measurements that counts
_SINGLE = 1.68  # the squared ratio of the .95 quantiles of those tails and of a normal distribution
_ROUNDS = 4  # of weighing measurements by how far off they are
_LEAST = 0.15  # a cost is taken to be at least this, of a median of 1, where its noise is looked up
_NEGLIGIBLE = 1e-3  # draws by so much less likely than the best are left out


@dataclass(frozen=True)
class Prior:
    """Draws of what is believed before measuring; h of them, for g groups of terms.

    Attributes:
        variances: of the coefficients in each group, in units of the noise's, shape (h, g).
        guesses: expected costs of the measured models in units of their median, shape (h, n).
    """

    variances: Floats
    guesses: Floats


@dataclass(frozen=True)
class Posterior:
    """What is believed after measuring n models, by the draws that are left; see ``regress``.

    Attributes:
        draws: which of the prior's are left, shape (h,).
        weights: how likely each is, summing to 1.
        variances: the prior's, of those left.
        spaces: of each group the orthonormal directions that its terms are turned to, shape (terms, rank).
        coefficients: of the turned terms, shape (h, d).
        covariances: theirs, in units of ``scale``, shape (h, d, d).
        scale: the noise's variance, shape (h,).
        freedom: degrees of freedom of the predictions' t distributions.
    """

    draws: NDArray[np.int64]
    weights: Floats
    variances: Floats
    spaces: tuple[Floats, ...]
    coefficients: Floats
    covariances: Floats
    scale: Floats
    freedom: float

    def mean(self, groups: Sequence[Floats], guesses: Floats) -> Floats:
        """The expected costs of m models, shape (m,); see ``predict``."""
        return self.weights @ self._means(groups, guesses)

    def predict(self, groups: Sequence[Floats], guesses: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the measured costs of m models, shape (m,) each.

        Args:
            groups: their terms, shape (m, terms) each.
            guesses: by every draw of the prior, shape (all draws, m).
        """
        turned = _turned(groups, self.spaces)
        outside = np.column_stack([_outside(g, space) for g, space in zip(groups, self.spaces, strict=True)])
        mean = self._means(groups, guesses)
        known = np.einsum("hmd,md->hm", turned @ self.covariances, turned)
        variance = self.scale[:, None] * (
            known + self.variances @ outside.T + _SINGLE * np.maximum(mean, _LEAST) ** 2
        )
        average = self.weights @ mean
        return average, np.sqrt(np.maximum(self.weights @ (variance + mean**2) - average**2, 0.0))

    def _means(self, groups: Sequence[Floats], guesses: Floats) -> Floats:
        """The expected costs by each draw, shape (h, m)."""
        return guesses[self.draws] + self.coefficients @ _turned(groups, self.spaces).T


def regress(groups: Sequence[Floats], values: Floats, prior: Prior) -> Posterior:
    """What the measured costs of n models say.

    Args:
        groups: their terms, shape (n, terms) each.
        values: their costs, with a median of 1, shape (n,).
        prior: what is believed before.
    """
    spaces = tuple(_row_space(group) for group in groups)
    turned = _turned(groups, spaces)
    of = np.repeat(np.arange(len(groups)), [space.shape[1] for space in spaces])
    draws = np.arange(len(prior.variances))
    found = _solve(turned, prior.variances[:, of], prior.guesses, values, rounds=1)
    draws = draws[found.evidence > found.evidence.max() + 3 * np.log(_NEGLIGIBLE)]
    found = _solve(turned, prior.variances[draws][:, of], prior.guesses[draws], values, rounds=_ROUNDS)
    left = found.evidence > found.evidence.max() + np.log(_NEGLIGIBLE)
    weights = np.exp(found.evidence[left] - found.evidence.max())
    return Posterior(
        draws=draws[left],
        weights=weights / weights.sum(),
        variances=prior.variances[draws[left]],
        spaces=spaces,
        coefficients=found.coefficients[left],
        covariances=found.covariances[left],
        scale=found.scale[left],
        freedom=len(values) + _NOISE_COUNTS,
    )


@dataclass(frozen=True)
class _Solution:
    coefficients: NDArray[Any]
    covariances: NDArray[Any]
    scale: NDArray[Any]
    evidence: NDArray[Any]


def _solve(turned: Floats, variances: Floats, guesses: Floats, values: Floats, rounds: int) -> _Solution:
    """The posterior of each draw, and its logarithmic marginal likelihood up to a constant.

    Args:
        turned: terms, shape (n, d).
        variances: of their coefficients, shape (h, d).
        guesses: shape (h, n).
        values: shape (n,).
        rounds: how often measurements are weighed.
    """
    deviations, residual = np.sqrt(variances), values - guesses
    precision = np.ones_like(guesses)  # of each measurement, by the noise's variance
    for round_number in range(rounds):
        weighted = deviations[:, :, None] * (turned.T * precision[:, None, :])
        inner = weighted @ turned * deviations[:, None, :] + np.eye(turned.shape[1])
        covariances = np.linalg.inv(inner) * deviations[:, :, None] * deviations[:, None, :]
        coefficients = np.einsum("hde,he->hd", covariances, (precision * residual) @ turned)
        off = residual - coefficients @ turned.T
        apart = np.divide(coefficients**2, variances, out=np.zeros_like(variances), where=variances > 0)
        misfit = (precision * off**2).sum(axis=1) + apart.sum(axis=1)
        scale = (_NOISE_COUNTS * _NOISE**2 + misfit) / (_NOISE_COUNTS + len(values))
        if round_number == rounds - 1:
            break
        expected = np.maximum(values - off, _LEAST)
        precision = (_TAILS + 1) / (_TAILS + off**2 / (scale[:, None] * expected**2)) / expected**2
    determinant = np.linalg.slogdet(inner)[1] - np.log(precision).sum(axis=1)
    evidence = -0.5 * (determinant + (_NOISE_COUNTS + len(values)) * np.log(scale))
    return _Solution(coefficients, covariances, scale, evidence)


def _row_space(group: Floats) -> Floats:
    """Orthonormal directions that span the rows of a matrix, as columns, shape (terms, rank)."""
    _, sizes, directions = np.linalg.svd(group, full_matrices=False)
    rank = int((sizes > 1e-10 * max(sizes.max(initial=0.0), 1e-300)).sum())
    space: Floats = directions[:rank].T
    return space


def _turned(groups: Sequence[Floats], spaces: Sequence[Floats]) -> Floats:
    """The terms of all groups in their spaces, shape (m, d)."""
    return np.hstack([group @ space for group, space in zip(groups, spaces, strict=True)])


def _outside(group: Floats, space: Floats) -> Floats:
    """The squared length of each row's part outside a space, shape (m,)."""
    squares: Floats = (group**2).sum(axis=1) - ((group @ space) ** 2).sum(axis=1)
    return np.maximum(squares, 0.0)
