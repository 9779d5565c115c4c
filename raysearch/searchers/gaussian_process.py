"""Gaussian processes over mixed features, with hyperparameters of maximal posterior density.

The kernel is a sum of two products: one over the parameters, one over what parameters of the same domain
sum up to. Numbers enter by a Matern 5/2 kernel, categories by the exponential of a weighted Hamming distance,
each with its own weight (automatic relevance determination).

References:
    Rasmussen, C. E., & Williams, C. K. I. (2006). Gaussian processes for machine learning. (eq. 2.25, 5.9)
    Hvarfner, C., Hellsten, E. O., & Nardi, L. (2024). Vanilla Bayesian optimization performs great in high
        dimensions. (a prior on the length scales that grows with the number of parameters)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.searchers.encoding import Vector
from raysearch.searchers.representation import Representation

_JITTER = 1e-8
_SQRT5 = math.sqrt(5)


class Kernel:
    """The kernel over one representation and the prior of its logarithmic hyperparameters.

    A hyperparameter vector ``theta`` holds the logarithms of the weights, of one variance a product, and of
    the noise's variance.
    """

    def __init__(self, representation: Representation) -> None:
        self._owner = representation.owner
        self.weights = len(representation.categorical)
        shared, category = representation.shared, representation.categorical
        # (weights of categories, weights of numbers) of each product
        self._products = [
            (np.flatnonzero(part & category), np.flatnonzero(part & ~category))
            for part in (~shared, shared)
            if part.any()
        ]
        count = np.where(shared, max(shared.sum(), 1), (~shared).sum())
        weight = np.where(shared, 2.0, np.where(category, 3.0, 8.0)) / count
        self.prior_mean = np.concatenate([np.log(weight), np.zeros(len(self._products)), [-6.0]])
        self.prior_deviation = np.concatenate([np.ones(len(weight) + len(self._products)), [2.0]])

    def variance(self, theta: Vector) -> float:
        """The kernel between a point and itself."""
        return float(np.exp(theta[self.weights : -1]).sum())

    def __call__(self, theta: Vector, a: Vector, b: Vector) -> Vector:
        """The kernel between features a (n, f) and b (k, f), shape (n, k)."""
        weights = np.exp(theta[: self.weights])
        result = np.zeros((len(a), len(b)))
        for i, (categories, numbers) in enumerate(self._products):
            exponent, factor = np.full(result.shape, theta[self.weights + i]), np.ones(1)
            if len(numbers):
                root = _SQRT5 * np.sqrt(self._squared(weights, numbers, a, b))
                exponent, factor = exponent - root, 1 + root * (1 + root / 3)
            if len(categories):
                exponent = exponent - self._squared(weights, categories, a, b)
            result += np.exp(exponent) * factor
        return result

    def by_weight(self, features: Vector) -> Vector:
        """The squared distances in each weight's features, shape (weights, n, n)."""
        result = np.zeros((self.weights, len(features), len(features)))
        for column, weight in zip(features.T, self._owner, strict=True):
            result[weight] += np.square(column[:, None] - column)
        return result

    def negative_log_posterior(
        self, theta: Vector, squared: Vector, y: Vector, noise: Vector
    ) -> tuple[float, Vector]:
        """Of theta given standardised y (n,), with its gradient; ``squared`` is from ``by_weight``."""
        from scipy.linalg.lapack import dpotrf, dpotri  # type: ignore[import-untyped]

        weights, at = np.exp(theta), self.weights
        terms, gram = [], np.diag(np.exp(theta[-1]) + noise + _JITTER)
        for i, (categories, numbers) in enumerate(self._products):
            base = np.exp(theta[at + i] - np.tensordot(weights[categories], squared[categories], 1))
            value, slope = _matern(np.tensordot(weights[numbers], squared[numbers], 1))
            terms.append((base * value, base * slope))
            gram += terms[-1][0]
        lower, failed = dpotrf(gram, lower=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        inverse = dpotri(lower, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        alpha = inverse @ y
        outer = np.outer(alpha, alpha) - inverse
        gradient = np.zeros_like(theta)
        for i, ((categories, numbers), (value, slope)) in enumerate(zip(self._products, terms, strict=True)):
            gradient[at + i] = (outer * value).sum() / 2
            pull = np.tensordot(squared[categories], outer * value, 2)
            gradient[categories] = -weights[categories] * pull / 2
            gradient[numbers] = weights[numbers] * np.tensordot(squared[numbers], outer * slope, 2) / 2
        gradient[-1] = np.exp(theta[-1]) * np.trace(outer) / 2
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
            (self.by_weight(features), (y - y.mean()) / scale, noise / scale**2),
            jac=True,
            method="L-BFGS-B",
            bounds=np.column_stack([self.prior_mean - reach, self.prior_mean + reach]),
            options={"maxiter": steps},
        )
        return np.asarray(found.x)

    def _squared(self, weights: Vector, chosen: NDArray[np.intp], a: Vector, b: Vector) -> Vector:
        columns = np.isin(self._owner, chosen)
        scale = np.sqrt(weights[self._owner[columns]])
        a, b = a[:, columns] * scale, b[:, columns] * scale
        squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
        result: Vector = np.maximum(squared, 0.0)
        return result


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


def _matern(squared: Vector) -> tuple[Vector, Vector]:
    """The Matern 5/2 kernel at squared distances, and its derivative by them."""
    root = _SQRT5 * np.sqrt(squared)
    decay = np.exp(-root)
    return (1 + root + 5 / 3 * squared) * decay, -5 / 6 * (1 + root) * decay
