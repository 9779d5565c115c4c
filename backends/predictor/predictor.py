"""Latency, energy or memory of models on a device, from a few that were measured there.

A cost is a sum over terms (terms.py) with normal priors (prior.py), learnt by a robust Bayesian regression
(regression.py). Three measurements give what the operators' totals say, hundreds a regression on each kind of
operator. Devices that are known already help most below ten measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysearch.backends.predictor.prior import Inputs, inputs, variances
from raysearch.backends.predictor.regression import Prior, regress
from raysearch.backends.predictor.terms import Features, Floats, Terms
from raysearch.basics.failures import UserError

FEWEST = 2
"""Measured models that a predictor needs."""
COVERAGE = 0.9
"""The share of measurements that lie in their intervals."""


@dataclass(frozen=True)
class Prediction:
    """Predicted costs of m models, in the unit of those measured.

    Attributes:
        mean: shape (m,).
        low, high: a measurement lies between them with a probability of ``COVERAGE``, shape (m,) each.
    """

    mean: Floats
    low: Floats
    high: Floats


class Predictor:
    """What the measured models of a device say of others; made by ``fit``.

    Attributes:
        models: the features of those measured.
        values: their costs.
        known: predictors of other devices that it builds on.
    """

    def __init__(
        self, models: Sequence[Features], values: Sequence[float], known: Sequence[Predictor] = ()
    ) -> None:
        self.models = tuple({name: float(v) for name, v in model.items()} for model in models)
        self.values, self.known = tuple(float(value) for value in values), tuple(known)
        self._unit = float(np.median(self.values))
        self._terms = Terms(self.models)
        self._averages = np.array([device.means(self.models).mean() for device in self.known])
        given, readings = self._inputs(self.models)
        prior = Prior(variances(readings, bool(self.known)), given.guesses)
        self._posterior = regress(given.groups, np.array(self.values) / self._unit, prior)

    def predict(self, models: Sequence[Features]) -> Prediction:
        """The costs of some models, with intervals.

        Args:
            models: their features, of any operators; what was not measured widens the interval.
        """
        check_features(models)
        given, _ = self._inputs(models)
        mean, deviation = self._posterior.predict(given.groups, given.guesses)
        from scipy.stats import t as student  # type: ignore[import-untyped]

        reach = student.ppf((1 + COVERAGE) / 2, self._posterior.freedom) * deviation
        return Prediction(
            *(self._unit * np.maximum(costs, 0.0) for costs in (mean, mean - reach, mean + reach))
        )

    def means(self, models: Sequence[Features]) -> Floats:
        """The expected costs alone, in a fraction of the time, shape (m,)."""
        given, _ = self._inputs(models)
        return self._unit * np.maximum(self._posterior.mean(given.groups, given.guesses), 0.0)

    def state(self) -> dict[str, Any]:
        """Plain JSON: what was measured; all else follows from it."""
        return {
            "models": [dict(model) for model in self.models],
            "values": list(self.values),
            "known": [device.state() for device in self.known],
        }

    def _inputs(self, models: Sequence[Features]) -> tuple[Inputs, int]:
        readings = self._terms.readings(models)
        costs = [device.means(models) / mean for device, mean in zip(self.known, self._averages, strict=True)]
        return inputs(readings, np.array(costs).reshape(len(costs), len(models)).T), len(readings)


def fit(models: Sequence[Features], values: Sequence[float], known: Sequence[Predictor] = ()) -> Predictor:
    """A predictor of what was measured: latency, energy or memory, whatever is positive and adds up.

    It takes milliseconds, so that it is made anew whenever measurements arrive.

    Args:
        models: the features of the measured models, see ``operators.features``; ``FEWEST`` at least.
        values: the cost of each, above 0.
        known: predictors of the same cost on other devices, each with measurements enough of its own.

    Raises:
        UserError: too few models, lengths that differ, or a figure that is not finite or not positive.
    """
    if len(models) != len(values):
        raise UserError(f"there are {len(models)} models and {len(values)} values: each model has one value")
    if len(models) < FEWEST:
        raise UserError(f"{len(models)} measured models are too few to predict others: give {FEWEST} or more")
    check_features(models)
    for number, value in enumerate(values):
        if not (isinstance(value, (int, float, np.number)) and math.isfinite(value) and value > 0):
            raise UserError(f"the value of model {number} is {value!r}: a cost is a finite number above 0")
    return Predictor(models, values, known)


def from_state(state: Mapping[str, Any]) -> Predictor:
    """The predictor whose ``state`` this is.

    Raises:
        UserError: it is no such state.
    """
    try:
        models, values, known = state["models"], state["values"], state["known"]
    except (KeyError, TypeError) as error:
        raise UserError(f"this is not a predictor's state: {error} is missing") from error
    return fit(models, values, [from_state(device) for device in known])


def check_features(models: Sequence[Features]) -> None:
    """Refuse features that are negative or no finite numbers.

    Raises:
        UserError: says which.
    """
    for number, model in enumerate(models):
        for name, value in model.items():
            if not (math.isfinite(value) and value >= 0):
                raise UserError(
                    f"feature {name!r} of model {number} is {value!r}: it is a finite number from 0 on"
                )
