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
        self._started = 0
        self._seen: dict[str, None] = {}

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
        """The first candidate that is a new variant, marked as given out; None if none is."""
        for vector in candidates:
            config = self.take(vector)
            if config is not None:
                return vector, config
        return None

    def initial(self, rng: np.random.Generator) -> tuple[Vector, Config] | None:
        """The next initial config that is new; None when they are used up."""
        while self._started < len(self._initial):
            config = self._initial[self._started]
            self._started += 1
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
        return {"started": self._started, "seen": list(self._seen)}

    def load(self, started: int, seen: Iterable[str]) -> None:
        """Go on from a state."""
        self._started = started
        self._seen = dict.fromkeys(seen)

    def _each_its_own(self, config: Config) -> tuple[str, AbstractSet[str]]:
        return json.dumps(config, sort_keys=True, default=repr), frozenset(self._encoding.names)
