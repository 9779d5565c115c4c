"""What is believed of a device's costs before any is measured.

How strong the groups of terms are is drawn, not chosen: the totals, the kinds, either reading of the models,
and the devices known already. The sample is fixed, so that equal measurements give equal predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from raysearch.backends.predictor.terms import Floats, Reading

_DRAWS = 128
_STRENGTH = 5.0  # of a group: its coefficients' deviation in units of the noise's, the median of all draws
_SPREAD = 1.0  # the deviation of its logarithm
_CONSTANT = 1.0  # that of what does not depend on the model
OVERHEAD = 0.1  # its share of an average cost
_SHARPNESS = 4.0  # how much most draws prefer one reading to the other


@dataclass(frozen=True)
class Inputs:
    """Some models as the regression takes them.

    Attributes:
        groups: terms, shape (m, terms) each: of each reading the totals and the kinds; what is known of other
            devices, where there are some; a constant.
        guesses: expected costs by every draw, shape (draws, m).
    """

    groups: tuple[Floats, ...]
    guesses: Floats


def inputs(readings: Sequence[Reading], known: Floats) -> Inputs:
    """The groups of terms of m models.

    Args:
        readings: of the models, one or two.
        known: their predicted costs on devices known already, each in units of its average, shape (m,
        devices).
    """
    groups = [group for reading in readings for group in (reading.totals, reading.kinds)]
    groups += [known] if known.shape[1] else []
    constant = np.ones((len(known), 1))
    if known.shape[1]:
        guesses = np.broadcast_to(known.mean(axis=1), (_DRAWS, len(known)))
    else:
        guesses = shares(len(readings)) @ np.stack([reading.guess for reading in readings])
    return Inputs((*groups, constant), OVERHEAD + (1 - OVERHEAD) * guesses)


def shares(readings: int) -> Floats:
    """How much of each draw's belief is in each reading, shape (draws, readings)."""
    from scipy.stats import norm  # type: ignore[import-untyped]

    if readings == 1:
        return np.ones((_DRAWS, 1))
    second = norm.cdf(_SHARPNESS * _sample()[:, 2])
    return np.column_stack([1 - second, second])


def variances(readings: int, known: bool) -> Floats:
    """The variance of each group's coefficients by every draw, shape (draws, groups)."""
    sample = _sample()
    strengths = (_STRENGTH * np.exp(_SPREAD * sample)) ** 2
    columns = [strengths[:, kind] * share for share in shares(readings).T for kind in (0, 1)]
    columns += [strengths[:, 3]] if known else []
    return np.column_stack([*columns, np.full(_DRAWS, _CONSTANT**2)])


@cache
def _sample() -> Floats:
    """Evenly spread standard normal numbers, shape (draws, 4)."""
    from scipy.stats import norm, qmc

    even = qmc.Sobol(4, rng=np.random.default_rng(0)).random(_DRAWS)
    normal: Floats = norm.ppf(np.clip(even, 1e-6, 1 - 1e-6))
    return normal
