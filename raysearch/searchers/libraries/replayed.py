"""A state for searchers that libraries run: the calls so far, made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Protocol

from raysearch.searchers.base import Config, Outcome


class Asked(Protocol):
    """A searcher without a state of its own: the same calls give the same answers, and that is all."""

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """As a searcher's."""
        ...

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """As a searcher's."""
        ...

    def end(self, trial: str, outcome: Outcome) -> None:
        """As a searcher's."""
        ...


class Replayed:
    """Keeps every call on a searcher; ``load`` makes a fresh one and calls it the same way.

    The state is plain JSON whatever the searcher holds, and grows with the reports. Loading costs as much as
    all suggestions so far.

    Args:
        make: gives a fresh searcher, each time the same.
    """

    def __init__(self, make: Callable[[], Asked]) -> None:
        self._make = make
        self._searcher = make()
        self._calls: list[list[Any]] = []

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The searcher's suggestion, or the config given."""
        config = self._searcher.ask(trial, given)
        self._calls.append(["ask", trial, deepcopy(given)])
        return config

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Hand a report on."""
        self._searcher.tell(trial, step, values)
        self._calls.append(["tell", trial, step, dict(values)])

    def end(self, trial: str, outcome: Outcome) -> None:
        """Hand an end on."""
        self._searcher.end(trial, outcome)
        self._calls.append(["end", trial, outcome])

    def state(self) -> dict[str, Any]:
        """The calls."""
        return {"calls": [list(call) for call in self._calls]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._searcher = self._make()
        self._calls = [list(call) for call in state["calls"]]
        for name, *arguments in self._calls:
            getattr(self._searcher, name)(*arguments)
