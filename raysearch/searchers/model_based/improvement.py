"""Expected improvement of the hypervolume by points whose costs are independent Gaussians.

With two costs it is exact, strip by strip. With any other number the improvement is integrated along rays
from the reference point: the volume that a set dominates is the mean over directions of the m-th power of
how far its best point reaches along them, so on each ray a one-dimensional integral over probabilities is
left.

References:
    Emmerich, M., Yang, K., Deutz, A., Wang, H., & Fonseca, C. M. (2016). A multicriteria generalization of
        Bayesian global optimization. (strips)
    Deng, J., & Zhang, Q. (2019). Approximating hypervolume and hypervolume contributions using polar
        coordinate.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from raysearch.searchers.encoding import Vector

_RAYS = 64
_NODES = 8


def directions(objectives: int, rng: np.random.Generator) -> Vector:
    """Random rays of unit length to integrate along, shape (k, objectives); two objectives need none."""
    if objectives == 2:
        return np.empty((0, 2))
    drawn = np.abs(rng.standard_normal((_RAYS if objectives > 1 else 1, objectives)))
    rays: Vector = np.maximum(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), 1e-6)
    return rays


def expected_improvement(
    mean: Vector, deviation: Vector, front: Vector, reference: Vector, rays: Vector
) -> Vector:
    """The expected gain in hypervolume, up to a constant factor, shape (k,).

    Args:
        mean: of the costs (all minimised), shape (k, m).
        deviation: of the costs, > 0, shape (k, m).
        front: costs reached so far, shape (n, m); n may be 0.
        reference: up to where volume counts, shape (m,).
        rays: from ``directions``; the same ones make values comparable. Not used with two costs.
    """
    front = front[(front < reference).all(axis=1)]
    if len(reference) == 2:
        return _by_strips(mean, deviation, front, reference)
    return sum(
        (_along(ray, mean, deviation, front, reference) for ray in rays),
        np.zeros(len(mean)),
    )


def _by_strips(mean: Vector, deviation: Vector, front: Vector, reference: Vector) -> Vector:
    """Exact for two costs: each strip between neighbours on the front has one ceiling."""
    front = front[np.lexsort(front.T[::-1])]
    ends = np.append(front[:, 0], reference[0])
    ceilings = np.minimum.accumulate(np.append(reference[1], front[:, 1]))
    below = _shortfall(ends, mean[:, :1], deviation[:, :1])
    widths = np.diff(below, axis=1, prepend=0.0)
    gain: Vector = (widths * _shortfall(ceilings, mean[:, 1:], deviation[:, 1:])).sum(axis=1)
    return gain


def _shortfall(bound: Vector, mean: Vector, deviation: Vector) -> Vector:
    """E[max(0, bound - Y)] of a Gaussian Y."""
    from scipy.special import ndtr  # type: ignore[import-untyped]

    z = (bound - mean) / deviation
    value: Vector = (bound - mean) * ndtr(z) + deviation * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return value


@cache
def _quadrature() -> tuple[Vector, Vector]:
    """Nodes and weights of Gauss and Legendre on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


def _along(ray: Vector, mean: Vector, deviation: Vector, front: Vector, reference: Vector) -> Vector:
    """E[max(0, s**m - best**m)] of the reach s = min((reference - Y) / ray) along one ray, shape (k,)."""
    from scipy.special import ndtr

    size = len(reference)
    best = float(((reference - front) / ray).min(axis=1).max()) if len(front) else 0.0
    reach = float(((reference - mean + 3 * deviation) / ray).min(axis=1).max())
    nodes, weights = _quadrature()
    width = max(reach - best, 1e-3)
    at = best + width * (nodes + 1) / 2
    bounds = reference - at[:, None] * ray
    further = ndtr((bounds - mean[:, None]) / deviation[:, None]).prod(axis=2)
    value: Vector = further @ (width / 2 * weights * size * at ** (size - 1))
    return value
