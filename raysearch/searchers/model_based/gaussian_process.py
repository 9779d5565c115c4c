"""Gaussian processes over mixed features, with hyperparameters of maximal posterior density.

The kernel is a sum of two: one over what parameters of the same domain sum up to, and its product with one
over the parameters themselves. Both are Matern 5/2 kernels with a weight of its own for each feature
(automatic relevance determination).

References:
    Rasmussen, C. E., & Williams, C. K. I. (2006). Gaussian processes for machine learning. (eq. 2.25, 5.9)
    Hvarfner, C., Hellsten, E. O., & Nardi, L. (2024). Vanilla Bayesian optimization performs great in high
        dimensions. (a prior on the length scales that grows with the number of parameters)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysearch.searchers.encoding import Vector
from raysearch.searchers.model_based.representation import Representation

_JITTER = 1e-8


class Kernel:
    """The kernel over one representation and the prior of its logarithmic hyperparameters.

    A hyperparameter vector ``theta`` holds the parts of the features' logarithmic weights, then the
    logarithms of the two variances (of the product, of the sums alone) and of the noise's variance.

    Args:
        representation: of the space.
        seen: how many features from 0 to 1 come behind its own: what else was seen of a trial.
    """

    def __init__(self, representation: Representation, seen: int = 0) -> None:
        features, own = representation.loading.shape
        self._loading = np.zeros((features + seen, own + seen))
        self._loading[:features, :own] = representation.loading
        self._loading[features:, own:] = np.eye(seen)
        self._summed = np.append(representation.summed, np.zeros(seen, dtype=bool))
        parts = np.append(representation.parts, ["seen"] * seen)
        self._parts = len(parts)
        parameters = np.isin(parts, ("category", "number")).sum()
        total = {"category": 3 / parameters, "number": 8 / parameters, "choice": 1.0, "seen": 4.0}
        total["sum"] = 2 / max((parts == "sum").sum(), 1)
        self.prior_mean = np.concatenate([np.log([total[kind] for kind in parts]), [0.0, 0.0, -6.0]])
        self.prior_deviation = np.concatenate([np.ones(len(parts) + 2), [2.0]])
        if not self._summed.any():
            self.prior_mean[-2], self.prior_deviation[-2] = -30.0, 1e-3  # no sums, no term of theirs alone

    def variance(self, theta: Vector) -> float:
        """The kernel between a point and itself."""
        return float(np.exp(theta[self._parts : -1]).sum())

    def __call__(self, theta: Vector, a: Vector, b: Vector) -> Vector:
        """The kernel between features a (n, f) and b (k, f), shape (n, k)."""
        weights = self._weights(theta)
        single = _matern(_squared(a, b, weights * ~self._summed))
        summed = _matern(_squared(a, b, weights * self._summed)) if self._summed.any() else 1.0
        both, alone = np.exp(theta[self._parts : -1])
        result: Vector = (both * single + alone) * summed
        return result

    def negative_log_posterior(
        self, theta: Vector, features: Vector, y: Vector, noise: Vector
    ) -> tuple[float, Vector]:
        """Of theta given standardised y (n,) at features (n, f), with its gradient."""
        from scipy.linalg.lapack import dpotrf, dpotri  # type: ignore[import-untyped]

        weights = self._weights(theta)
        both, alone = np.exp(theta[self._parts : -1])
        apart = _squared(features, features, weights * ~self._summed)
        apart_summed = _squared(features, features, weights * self._summed)
        single, summed = _matern(apart), _matern(apart_summed)
        gram = (both * single + alone) * summed
        gram[np.diag_indices(len(y))] += np.exp(theta[-1]) + noise + _JITTER
        lower, failed = dpotrf(gram, lower=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        inverse = dpotri(lower, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        alpha = inverse @ y
        pull = (np.outer(alpha, alpha) - inverse) / 2
        by_feature = np.where(
            self._summed,
            _spread(features, pull * (both * single + alone) * _slope(apart_summed)),
            _spread(features, pull * both * _slope(apart) * summed),
        )
        variances = [both * (pull * single * summed).sum(), alone * (pull * summed).sum()]
        gradient = np.concatenate(
            [self._loading.T @ (weights * by_feature), variances, [np.exp(theta[-1]) * np.trace(pull)]]
        )
        away = (theta - self.prior_mean) / self.prior_deviation
        density = y @ alpha / 2 + np.log(np.diag(lower)).sum() + away @ away / 2
        return float(density), away / self.prior_deviation - gradient

    def fitted(self, theta: Vector, features: Vector, y: Vector, noise: Vector, steps: int = 10) -> Vector:
        """Hyperparameters improved from theta by a few quasi-Newton steps."""
        from scipy.optimize import minimize  # type: ignore[import-untyped]

        scale = float(y.std()) or 1.0
        reach = 4 * self.prior_deviation
        found = minimize(
            self.negative_log_posterior,
            theta,
            (features, (y - y.mean()) / scale, noise / scale**2),
            jac=True,
            method="L-BFGS-B",
            bounds=np.column_stack([self.prior_mean - reach, self.prior_mean + reach]),
            options={"maxiter": steps},
        )
        return np.asarray(found.x)

    def _weights(self, theta: Vector) -> Vector:
        weights: Vector = np.exp(self._loading @ theta[: self._parts])
        return weights


@dataclass(frozen=True)
class Posterior:
    """What a Gaussian process knows after n values."""

    kernel: Kernel
    theta: Vector
    features: Vector
    mean: float
    scale: float
    lower: Vector
    alpha: Vector

    @classmethod
    def of(cls, kernel: Kernel, theta: Vector, features: Vector, y: Vector, noise: Vector) -> Posterior:
        """Condition on values y (n,) at features (n, f); ``noise`` (n,) are variances besides the own."""
        from scipy.linalg import cho_solve  # type: ignore[import-untyped]

        mean, scale = float(y.mean()), float(y.std()) or 1.0
        gram = kernel(theta, features, features)
        gram[np.diag_indices(len(y))] += np.exp(theta[-1]) + noise / scale**2 + _JITTER
        lower = np.asarray(np.linalg.cholesky(gram), dtype=np.float64)
        return cls(kernel, theta, features, mean, scale, lower, cho_solve((lower, True), (y - mean) / scale))

    def __call__(self, features: Vector) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the noiseless value at features (k, f), each of shape (k,)."""
        from scipy.linalg import solve_triangular

        cross = self.kernel(self.theta, self.features, features)
        half = solve_triangular(self.lower, cross, lower=True, check_finite=False)
        variance = self.kernel.variance(self.theta) - np.einsum("ij,ij->j", half, half)
        return (
            self.mean + self.scale * (self.alpha @ cross),
            self.scale * np.sqrt(np.maximum(variance, 1e-9)),
        )


def _squared(a: Vector, b: Vector, weights: Vector) -> Vector:
    """Weighted squared distances between a (n, f) and b (k, f), shape (n, k)."""
    used = weights > 0
    a, b = a[:, used] * np.sqrt(weights[used]), b[:, used] * np.sqrt(weights[used])
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    result: Vector = np.maximum(squared, 0.0)
    return result


def _spread(features: Vector, pairs: Vector) -> Vector:
    """The sum over pairs, weighted by a symmetric (n, n), of each feature's squared distance, shape (f,)."""
    result: Vector = 2 * (
        pairs.sum(axis=1) @ np.square(features) - (features * (pairs @ features)).sum(axis=0)
    )
    return result


def _matern(squared: Vector) -> Vector:
    """The Matern 5/2 kernel at squared distances."""
    root = np.sqrt(5 * squared)
    value = root / 3
    value += 1
    value *= root
    value += 1
    np.negative(root, out=root)
    value *= np.exp(root, out=root)
    return value


def _slope(squared: Vector) -> Vector:
    """The derivative of the Matern 5/2 kernel by the squared distance."""
    root = np.sqrt(5 * squared)
    return -5 / 6 * (1 + root) * np.exp(-root)
