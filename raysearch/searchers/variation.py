"""How two parents make a child on the unit cube: pymoo's operators, chosen by the kind of each coordinate.

References:
    Deb, K., & Agrawal, R. B. (1995). Simulated binary crossover for continuous search space. (SBX)
    Deb, K., & Goyal, M. (1996). A combined genetic adaptive search for engineering design. (PM)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.searchers.encoding import Encoding, Vector

Mask = NDArray[np.bool_]

# Distribution indices of SBX and polynomial mutation: high ones stay near the parents, which on a grid of few
# values would change nothing, so pymoo's documentation advises 3 there.
_CONTINUOUS = (15.0, 20.0)
_GRID = (3.0, 3.0)


class Variation:
    """Crossover and mutation for the parameters of one space."""

    def __init__(self, encoding: Encoding) -> None:
        self._parameters = encoding.parameters
        kinds = [p.kind == "categorical" for p in self._parameters]
        self._categorical: Mask = np.array(kinds)
        self._continuous: Mask = np.array([math.isinf(p.cells) for p in self._parameters])
        self._grid: Mask = ~self._categorical & ~self._continuous

    def __len__(self) -> int:
        return len(self._parameters)

    def crossed(self, parents: Vector, rng: np.random.Generator) -> Vector:
        """A child (n,) of two parents (2, n): SBX on numbers, uniform crossover on categories."""
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.crossover.ux import UX

        child: Vector = parents[0].copy()
        for columns, operator in (
            (self._continuous, SBX(prob=0.9, eta=_CONTINUOUS[0])),
            (self._grid, SBX(prob=0.9, eta=_GRID[0])),
            (self._categorical, UX(prob=0.9)),
        ):
            if columns.any():
                child[columns] = _apply(operator, parents[:, columns], rng)
        return child

    def mutated(self, vector: Vector, active: Mask, rng: np.random.Generator) -> Vector:
        """A copy with one active parameter changed on average, and at least one: (n,), (n,) -> (n,).

        Polynomial mutation on numbers, another choice drawn evenly on categories.
        """
        from pymoo.operators.mutation.pm import PM

        active = active if active.any() else np.ones_like(active)
        chosen = active & (rng.random(len(active)) < 1 / active.sum())
        if not chosen.any():
            chosen[rng.choice(np.flatnonzero(active))] = True
        result = vector.copy()
        for columns, eta in ((self._continuous & chosen, _CONTINUOUS[1]), (self._grid & chosen, _GRID[1])):
            if columns.any():
                result[columns] = _apply(PM(prob=1.0, prob_var=1.0, eta=eta), result[None, columns], rng)
        for i in np.flatnonzero(self._categorical & chosen):
            cells = len(self._parameters[i].choices)
            now = min(int(vector[i] * cells), cells - 1)
            result[i] = self._parameters[i].middle((now + int(rng.integers(1, max(cells, 2)))) % cells)
        return result


def _apply(operator: Any, points: Vector, rng: np.random.Generator) -> Vector:
    """The first point that a pymoo operator makes of points (k, n) in the unit cube, shape (n,)."""
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem

    problem = Problem(n_var=points.shape[1], xl=0.0, xu=1.0)
    population = Population.new("X", points)
    child = operator.do(problem, [population] if len(points) > 1 else population, random_state=rng)[0]
    return np.clip(np.asarray(child.X, dtype=np.float64), 0.0, 1.0)
