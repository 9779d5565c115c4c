"""Points worth scoring: drawn at random, bred from good ones, and changed a little around the best scored."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from raysearch.searchers.encoding import Encoding, Vector
from raysearch.searchers.model_based.representation import Representation

_FAR = 0.25  # of the random points, where good ones are known
_SCALES = (0.02, 0.4)  # of the normal steps of a number, drawn evenly in the logarithm


class Candidates:
    """Makes candidates of one space, all on legal cells, shape (k, n).

    Args:
        encoding: the space.
        representation: of it.
        good: points that somebody holds for good ones, shape (g, n), if there are any.
    """

    def __init__(
        self, encoding: Encoding, representation: Representation, good: Vector | None = None
    ) -> None:
        self._good = np.empty((0, len(encoding))) if good is None else good
        self._snapped, self._drawn = representation.snapped, encoding.drawn
        self._size = len(encoding)
        self._choices = np.array([len(p.choices) for p in encoding.parameters])

    def random(self, count: int, rng: np.random.Generator) -> Vector:
        """Drawn as the space's priors would have them, three of four around good points, where there are any.

        These differ from one of them in a share of the parameters that is drawn too, mostly a small one.
        """
        points = self._drawn(rng.random((count, self._size)))
        if len(self._good):
            share = np.square(rng.random((count, 1)))
            far = rng.random((count, 1)) < _FAR
            kept = (rng.random(points.shape) >= share) & ~far
            points = np.where(kept, self._good[rng.integers(len(self._good), size=count)], points)
        return self._snapped(points)

    def bred(
        self, parents: Vector, active: NDArray[np.bool_], count: int, rng: np.random.Generator
    ) -> Vector:
        """Children of one or two parents (p, n), in one to three of whose active parameters they differ.

        What does not matter in a parent is drawn anew, for in a child it may.
        """
        first, second = rng.integers(len(parents), size=(2, count))
        mixed = (rng.random((count, self._size)) < 0.5) & (rng.random((count, 1)) < 0.5)
        children = np.where(mixed, parents[second], parents[first])
        inherited = np.where(mixed, active[second], active[first])
        children = np.where(inherited, children, self._drawn(rng.random(children.shape)))
        changes = rng.integers(1, 4, size=count)
        order = np.argsort(rng.random((count, self._size)) - active[first], axis=1)
        for i in range(min(3, self._size)):
            rows = np.flatnonzero(changes > i)
            columns = order[rows, i]
            children[rows, columns] = self._changed(children[rows, columns], columns, rng)
        return self._snapped(children)

    def _changed(self, now: Vector, columns: NDArray[np.intp], rng: np.random.Generator) -> Vector:
        """Another choice for a category, a normal step for a number reflected at the bounds, shape (k,)."""
        choices = np.maximum(self._choices[columns], 1)
        other = (now + rng.integers(1, np.maximum(choices, 2)) / choices) % 1.0
        scale = np.exp(rng.uniform(math.log(_SCALES[0]), math.log(_SCALES[1]), len(now)))
        step = np.abs(now + scale * rng.standard_normal(len(now)))
        step = np.where(step > 1, np.maximum(2 - step, 0.0), step)
        changed: Vector = np.where(self._choices[columns] > 0, other, step)
        return changed
