"""What a searcher is: a pure ask/tell method that proposes configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from raysearch.basics.outcome import Outcome as Outcome

Config = dict[str, Any]

Identity = Callable[[Config], tuple[str, AbstractSet[str]]]
"""From a config to the key of the variant that it is, and the names ("a/b") of the parameters that matter."""


class Searcher(Protocol):
    """Proposes configs and learns from reports; no clock, no files, no Ray; same calls, same answers."""

    def ask(self, trial: str) -> Config | None:
        """A nested config for a new trial; None when the space is exhausted."""
        ...

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Take in a report; a metric not known at that step is absent. A trial never asked for is ignored."""
        ...

    def end(self, trial: str, outcome: Outcome) -> None:
        """The trial is over; what was told of it counts with this outcome."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that later suggestions depend on, as plain JSON."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        ...
