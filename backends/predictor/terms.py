"""The terms of a model's cost: sums over its operators, each as a share of what an average model has.

Costs add up over operators. What an operator of a kind costs is mostly what any operator costs for the same
work,
and a deviation of its own: there are terms for the totals and terms for the kinds, of which the regression
holds the latter small. Where models have operators that no output depends on, a device may run them or leave
them out, so that there are two readings of a model, with all operators and with those needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.backends.predictor.operators import IDLE, INTEGER, features_named
from raysearch.basics.failures import UserError

Floats = NDArray[np.float64]
Features = Mapping[str, float]


@dataclass(frozen=True)
class Reading:
    """One reading of n models.

    Attributes:
        totals: shape (n, t); a model with the average total of a quantity has 1 there.
        kinds: shape (n, k), the same of single kinds of operators.
        guess: shape (n,), the mean over quantities: what costs would be if each took its share.
    """

    totals: Floats
    kinds: Floats
    guess: Floats


class Terms:
    """Makes terms of features, in a fixed order and in units of the models that it was made for.

    Args:
        models: features of those models, see ``operators.features``; a name is "kind/quantity".

    Raises:
        UserError: none of them has a feature.
    """

    def __init__(self, models: Sequence[Features]) -> None:
        every = features_named(models)
        if not every:
            raise UserError("none of the models has a feature: give what features(operators) returns")
        self._idle = any(name.startswith(IDLE) for name in every)
        known = sorted({name.removeprefix(IDLE) for name in every})
        self._quantities = sorted({_quantity(name) for name in known})
        self._names = [*known, *(_others(name) for q in self._quantities for name in (q, f"{INTEGER}/{q}"))]
        self._place = {name: place for place, name in enumerate(self._names)}
        self._of = np.array([self._quantities.index(_quantity(name)) for name in self._names], dtype=np.int64)
        self._integer = np.array([INTEGER in name for name in self._names])
        means = self._table(models, idle=True).mean(axis=0)
        units = np.array([means[self._of == q].sum() for q in range(len(self._quantities))])
        self._units = np.where(units > 0, units, 1.0)

    def readings(self, models: Sequence[Features]) -> tuple[Reading, ...]:
        """The readings of some models: one, or two where some of the first models had idle operators."""
        return tuple(self._reading(models, idle) for idle in ((True, False) if self._idle else (True,)))

    def _reading(self, models: Sequence[Features], idle: bool) -> Reading:
        kinds = self._table(models, idle) / self._units[self._of]
        places = [self._of == q for q in range(len(self._quantities))]
        totals = [kinds[:, place].sum(axis=1) for place in places]
        integers = [kinds[:, place & self._integer].sum(axis=1) for place in places]
        return Reading(np.column_stack([*totals, *integers]), kinds, np.mean(totals, axis=0))

    def _table(self, models: Sequence[Features], idle: bool) -> Floats:
        """The features by name, with those of idle operators or without them, shape (n, names)."""
        table = np.zeros((len(models), len(self._names)))
        for row, model in zip(table, models, strict=True):
            for name, value in model.items():
                if idle or not name.startswith(IDLE):
                    needed = name.removeprefix(IDLE)
                    place = self._place.get(needed, self._place.get(_others(needed)))
                    if place is not None:  # a quantity that no measured model has tells nothing
                        row[place] += value
        return table


def _quantity(name: str) -> str:
    return name.rpartition("/")[2]


def _others(name: str) -> str:
    """Where kinds of operators are put that no measured model has."""
    return f"(others){INTEGER * (INTEGER in name)}/{_quantity(name)}"
