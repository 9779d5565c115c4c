"""What a scheduler is: a pure rule that says after each report whether a trial goes on."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from raysearch.basics.outcome import Outcome as Outcome


class Decision(StrEnum):
    """What becomes of a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


class Deciding(Protocol):
    """Decides from reports alone; no clock, no files, no Ray.

    That is all that ``ray.tune`` asks of a scheduler; a run with a journal needs a ``Scheduler``.
    """

    def decide(self, trial: str, step: int, values: Mapping[str, float]) -> Decision:
        """Judge a trial by its report at ``step``; a metric not known at that step is absent.

        A step that was reported before (after a restart) is answered CONTINUE and changes nothing.
        """
        ...

    def end(self, trial: str, outcome: Outcome) -> None:
        """The trial is over and will not report again."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that later decisions depend on, as plain JSON."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        ...


class Scheduler(Deciding, Protocol):
    """A scheduler that also takes decisions which were made before."""

    def decide(
        self, trial: str, step: int, values: Mapping[str, float], given: Decision | None = None
    ) -> Decision:
        """The decision given, or the judgement of a trial by its report at ``step``.

        A given decision (one that a journal recorded) is taken as if it were this rule's own, whatever that
        would be: the report counts in later comparisons, and nothing is compared now.
        """
        ...


@runtime_checkable
class Promoting(Protocol):
    """What a scheduler that pauses trials has besides."""

    def promote(self, given: str | None = None) -> str | None:
        """A paused trial that shall go on now; None when there is none, and then nothing has changed.

        A given trial (one that a journal says was promoted) goes on, and no trials are compared.
        """
        ...


@runtime_checkable
class Finishing(Promoting, Protocol):
    """What a scheduler has besides that lets more paused trials go on once no new ones begin."""

    def left(self) -> dict[str, int]:
        """The paused trials that ``finish`` would let go on one after another, with their last steps."""
        ...

    def finish(self, given: str | None = None) -> str | None:
        """A paused trial that shall go on, since no more trials begin.

        None when there is none, and then nothing has changed. A given trial goes on, as with ``promote``.
        """
        ...
