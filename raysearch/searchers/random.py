"""Random search without repetition: the control that every other searcher is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Identity, Outcome
from raysearch.searchers.encoding import Encoding, Parameter, Vector
from raysearch.searchers.novelty import Novelty


class RandomSearch:
    """Draws each config evenly over the space and learns nothing.

    Args:
        parameters: the space.
        goals: taken like every searcher takes them; a random draw needs none.
        seed: of its generator.
        initial: configs to suggest first, in order.
        identity: tells which configs are the same variant; none is suggested twice.

    Raises:
        ValueError: the space is empty or an initial config is not legal.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        *,
        seed: int = 0,
        initial: Sequence[Config] = (),
        identity: Identity | None = None,
    ) -> None:
        self._novelty = Novelty(Encoding(parameters), identity, initial)
        self._seed, self._asked = seed, 0

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, the next initial one, or a new random one; None when the space is exhausted."""
        found = self._novelty.given(given) if given is not None else self._proposal()
        self._asked += found is not None
        return found[1] if found else None

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Nothing is learnt."""

    def end(self, trial: str, outcome: Outcome) -> None:
        """Nothing is learnt."""

    def state(self) -> dict[str, Any]:
        """What was suggested."""
        return {"asked": self._asked, "novelty": self._novelty.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked = state["asked"]
        self._novelty.load(**state["novelty"])

    def _proposal(self) -> tuple[Vector, Config] | None:
        rng = np.random.default_rng([self._seed, self._asked])
        return self._novelty.initial(rng) or self._novelty.random(rng)
