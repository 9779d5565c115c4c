"""Costs and margins in units in which Gaussian processes can learn them: those of the front so far."""

from __future__ import annotations

import numpy as np

from raysearch.searchers.encoding import Vector
from raysearch.searchers.model_based.evidence import Evidence, front_of

_REFERENCE = 1.5  # of costs scaled by the front: far enough that its ends grow
_WIDTH = 0.1  # the least width of the front, as a share of nine tenths of all costs known


def scaled(evidence: Evidence, highest: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    """Targets and variances for the models, the front and the reference, all in units of the front.

    A cost is 0 at the front's best and 1 at its worst; above 1 it grows by its logarithm. A margin enters by
    its inverse hyperbolic sine in units of its median size. ``highest`` are the costs allowed, shape (m,).
    """
    targets, variances = evidence.targets.copy(), evidence.variances.copy()
    reference = np.full(len(highest), _REFERENCE)
    front = front_of(evidence, len(highest))
    for i in range(targets.shape[1]):
        known = targets[np.isfinite(targets[:, i]), i]
        if i < len(highest):
            low, width = _range(known, targets[front, i])
            reference[i] = min(_REFERENCE, _bent((highest[i] - low) / width))
            z = (targets[:, i] - low) / width
            variances[:, i] /= width**2 * np.maximum(z, 1.0) ** 2
            targets[:, i] = _bent(z)
        elif len(known):
            size = float(np.median(np.abs(known))) or 1.0
            variances[:, i] /= size**2 + targets[:, i] ** 2
            targets[:, i] = np.arcsinh(targets[:, i] / size)
    return targets, np.nan_to_num(variances), targets[front, : len(highest)], reference


def _bent(z: Vector) -> Vector:
    """A scaled cost, by its logarithm above 1."""
    bent: Vector = np.where(z > 1, 1 + np.log(np.maximum(z, 1.0)), z)
    return bent


def _range(known: Vector, front: Vector) -> tuple[float, float]:
    """The front's best cost and its width; of no front or a narrow one, by all costs known."""
    low = float(front.min() if len(front) else known.min())
    spread = float(np.quantile(known, 0.9)) - low
    width = max(float(np.ptp(front)) if len(front) else spread / 2, _WIDTH * spread)
    return low, width if width > 1e-9 * abs(low) else float(np.ptp(known)) or abs(low) or 1.0
