"""No early stopping: the control that every other rule is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysearch.schedulers.base import Decision, Outcome


class FullTraining:
    """Lets every trial train to its last step."""

    def decide(
        self, trial: str, step: int, values: Mapping[str, float], given: Decision | None = None
    ) -> Decision:
        """CONTINUE, unless another decision is given."""
        return given or Decision.CONTINUE

    def end(self, trial: str, outcome: Outcome) -> None:
        """Nothing is kept of a trial."""

    def state(self) -> dict[str, Any]:
        """Empty: no decision depends on the past."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to take over."""
