"""Which configs were asked already, so that no variant is evaluated twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from raysearch.searchers.base import Config, Identity
from raysearch.searchers.encoding import Encoding, Vector

# After so many draws without a new config the space counts as exhausted, unless it is small enough to list.
_DRAWS = 200
_LISTED = 10_000


class Novelty:
    """Gives out each variant once: two configs are the same variant when their keys are equal.

    Args:
        encoding: the space.
        identity: from a config to its key and active parameters; None: each config is its own variant, with
            all parameters active.
        initial: configs to give out first, in order. A parameter that one lacks is drawn at random.

    Raises:
        ValueError: an initial config is not legal.
    """

    def __init__(self, encoding: Encoding, identity: Identity | None, initial: Sequence[Config]) -> None:
        self._encoding = encoding
        self._identity = identity or self._each_its_own
        self._initial = tuple(initial)
        for config in self._initial:
            encoding.encode(config, absent=np.zeros(len(encoding)))
        self._left = list(range(len(self._initial)))  # of the initial configs, those still to give out
        self._seen: dict[str, None] = {}

    def given(self, config: Config) -> tuple[Vector, Config]:
        """The point of a config that somebody else chose, and the config, marked as given out, new or not.

        A parameter that it lacks stands in the middle. An initial config that it agrees with is used up.
        """
        vector = self._encoding.encode(config, absent=np.full(len(self._encoding), 0.5))
        for i in self._left:
            if np.array_equal(self._as_given_out(self._initial[i], vector), vector):
                self._left.remove(i)
                break
        self._seen[self._identity(config)[0]] = None
        return vector, config

    def _as_given_out(self, config: Config, absent: Vector) -> Vector:
        """The point of an initial config once it is given out: its numbers are rounded then."""
        return self._encoding.encode(self._encoding.decode(self._encoding.encode(config, absent=absent)))

    def take(self, vector: Vector) -> Config | None:
        """The config at a point, marked as given out; None if its variant was given out before."""
        config = self._encoding.decode(vector)
        key = self._identity(config)[0]
        if key in self._seen:
            return None
        self._seen[key] = None
        return config

    def key(self, vector: Vector) -> str:
        """The key of the variant at a point."""
        return self._identity(self._encoding.decode(vector))[0]

    def first(self, candidates: Iterable[Vector]) -> tuple[Vector, Config] | None:
        """The first candidate that is a new variant, marked as given out; None if none is.

        Its point is that of the config, as if the config had been given: the middle of its cells.
        """
        for vector in candidates:
            config = self.take(vector)
            if config is not None:
                return self._encoding.encode(config), config
        return None

    def initial(self, rng: np.random.Generator) -> tuple[Vector, Config] | None:
        """The next initial config that is new; None when they are used up."""
        while self._left:
            config = self._initial[self._left.pop(0)]
            found = self.first([self._encoding.encode(config, absent=self._encoding.sample(rng))])
            if found is not None:
                return found
        return None

    def random(self, rng: np.random.Generator) -> tuple[Vector, Config] | None:
        """A new variant drawn at random; None when the space is exhausted."""
        found = self.first(self._encoding.sample(rng) for _ in range(_DRAWS))
        if found is None and self._encoding.cells <= _LISTED:
            cells = rng.permutation(int(self._encoding.cells))
            found = self.first(self._encoding.cell(int(i)) for i in cells)
        return found

    def active(self, vector: Vector) -> np.ndarray:
        """Which parameters matter at a point, shape (n,) of bool."""
        names = self._identity(self._encoding.decode(vector))[1]
        return np.array([name in names for name in self._encoding.names])

    def state(self) -> dict[str, object]:
        """Plain JSON."""
        return {"left": list(self._left), "seen": list(self._seen)}

    def load(self, left: Iterable[int], seen: Iterable[str]) -> None:
        """Go on from a state."""
        self._left = list(left)
        self._seen = dict.fromkeys(seen)

    def _each_its_own(self, config: Config) -> tuple[str, AbstractSet[str]]:
        return json.dumps(config, sort_keys=True, default=repr), frozenset(self._encoding.names)
