"""A state for searchers that libraries run: the calls so far, made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Protocol

from raysearch.searchers.base import Config, Outcome, Recalling


class Asked(Protocol):
    """A searcher without a state of its own: the same calls give the same answers, and that is all.

    A config that it proposed and the same config given, after what it worked out was recalled, count alike.
    """

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

    The state is plain JSON whatever the searcher holds, and grows with the reports. What was proposed is
    given when it is loaded, so that nothing is worked out again.

    Args:
        make: gives a fresh searcher, each time the same.
    """

    def __init__(self, make: Callable[[], Asked]) -> None:
        self._make = make
        self._searcher = make()
        self._calls: list[list[Any]] = []
        self._recalled: dict[str, Any] | None = None
        self._worked: dict[str, Any] | None = None

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The searcher's suggestion, or the config given."""
        recalled, self._recalled = self._recalled, None
        if recalled is not None and isinstance(self._searcher, Recalling):
            self._searcher.recall(recalled)
        config = self._searcher.ask(trial, given)
        if config is not None:
            self._worked = self._searcher.worked_out() if isinstance(self._searcher, Recalling) else None
            self._calls.append(["ask", trial, deepcopy(config), self._worked])
        return config

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Hand a report on."""
        self._searcher.tell(trial, step, values)
        self._calls.append(["tell", trial, step, dict(values)])

    def end(self, trial: str, outcome: Outcome) -> None:
        """Hand an end on."""
        self._searcher.end(trial, outcome)
        self._calls.append(["end", trial, outcome])

    def worked_out(self) -> dict[str, Any] | None:
        """What the searcher worked out for the last config, where no config tells it."""
        worked, self._worked = self._worked, None
        return worked

    def recall(self, worked: Mapping[str, Any]) -> None:
        """Take over what was worked out for the config that is given next."""
        self._recalled = dict(worked)

    def state(self) -> dict[str, Any]:
        """The calls."""
        return {"calls": [list(call) for call in self._calls]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._searcher = self._make()
        self._calls = []
        for name, *arguments in state["calls"]:
            if name == "ask":
                trial, config, self._recalled = arguments
                self.ask(trial, config)
            else:
                getattr(self, name)(*arguments)
        self._worked = None
