"""What a searcher is: a pure ask/tell method that proposes configurations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, runtime_checkable

from raysearch.basics.outcome import Outcome as Outcome

Config = dict[str, Any]

Identity = Callable[[Config], tuple[str, AbstractSet[str]]]
"""From a config to the key of the variant that it is, and the names ("a/b") of the parameters that matter."""


class Suggesting(Protocol):
    """Proposes configs and learns from reports; no clock, no files, no Ray; same calls, same answers.

    That is all that ``ray.tune`` asks of a searcher; a run with a journal needs a ``Searcher``.
    """

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


class Searcher(Suggesting, Protocol):
    """A searcher that also takes configs which somebody else chose."""

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, or one for a new trial; None when the space is exhausted.

        A given config (one that a journal recorded, one to evaluate first) is taken as if it had been
        proposed, whatever would have been: it counts, it is not proposed again, what is told of its trial is
        learnt, and no model is consulted.

        Raises:
            ValueError: the config given is not legal in the space.
        """
        ...


@runtime_checkable
class Recalling(Protocol):
    """What a searcher has besides that works something out which no config and no report tells.

    Hyperparameters that were fitted, an optimum that was found: the journal keeps them with the suggestion or
    the promotion that they came with, so that a run that is gone on with need not work them out again, and
    goes on as it would have.
    """

    def worked_out(self) -> dict[str, Any] | None:
        """What was worked out since this was last asked, as plain JSON; None where nothing was."""
        ...

    def recall(self, worked: Mapping[str, Any]) -> None:
        """Take over what was worked out, before the config that it came with is given.

        Raises:
            ValueError, KeyError, TypeError: it has another form.
        """
        ...


@runtime_checkable
class Choosing(Protocol):
    """What a searcher has besides that can tell which of its trials to go on with."""

    def choose(self, trials: Sequence[str], waiting: Collection[str] = ()) -> str | None:
        """Of trials that wait the most promising; None while too little is known to tell.

        Args:
            trials: to choose from.
            waiting: others that wait, of which none is to be taken for under way.
        """
        ...
