"""A list of configs, suggested in order: how references and points to evaluate first are run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysearch.searchers.base import Config, Outcome


class FixedList:
    """Suggests the given configs, then nothing.

    Args:
        configs: nested configs.
    """

    def __init__(self, configs: Sequence[Config]) -> None:
        self._configs = list(configs)
        self._asked = 0

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The next config, or the one given in its place; None after the last."""
        if self._asked >= len(self._configs):
            return given
        self._asked += 1
        return self._configs[self._asked - 1] if given is None else given

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Nothing is learned."""

    def end(self, trial: str, outcome: Outcome) -> None:
        """Nothing is kept of a trial."""

    def state(self) -> dict[str, Any]:
        """How many were asked for."""
        return {"asked": self._asked}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked = state["asked"]
