"""A searcher and a scheduler as one: what a journal records is given to both as if they had chosen it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from raysearch.basics.outcome import Outcome
from raysearch.schedulers.base import Decision, Finishing, Promoting, Scheduler
from raysearch.searchers.base import Choosing, Recalling, Searcher


@dataclass
class Algorithms:
    """The two algorithms of a run.

    Attributes:
        searcher, scheduler: pure.
    """

    searcher: Searcher
    scheduler: Scheduler

    def take_in(self, event: Mapping[str, Any]) -> None:
        """An event of before, whatever they would choose today (another version of them, another seed)."""
        name = event["trial"]
        if "worked" in event and isinstance(self.searcher, Recalling):
            with suppress(KeyError, TypeError, ValueError):  # another version worked out other things
                self.searcher.recall(event["worked"])
        if event["event"] == "suggestion":
            self.searcher.ask(name, event.get("proposal", event["config"]))
        elif event["event"] == "report":
            self.scheduler.decide(name, event["step"], event["values"], Decision(event["decision"]))
            self.searcher.tell(name, event["step"], event["values"])
        elif event["event"] == "promotion":
            self._promote_again(name, finishing=event.get("finishing", False))
        elif event["event"] == "end":
            self.end(name, event["outcome"])

    def _promote_again(self, name: str, *, finishing: bool) -> None:
        """Tell the scheduler of a promotion of before; another scheduler may know none."""
        if finishing and isinstance(self.scheduler, Finishing):
            self.scheduler.finish(name)
        elif isinstance(self.scheduler, Promoting):
            self.scheduler.promote(name)

    def end(self, name: str, outcome: Outcome) -> None:
        """A trial is over."""
        self.scheduler.end(name, outcome)
        self.searcher.end(name, outcome)

    def worked_out(self) -> dict[str, Any]:
        """What the searcher worked out for what is about to be written, as a field of it."""
        worked = self.searcher.worked_out() if isinstance(self.searcher, Recalling) else None
        return {} if worked is None else {"worked": worked}

    def left(self) -> dict[str, int]:
        """What the scheduler would finish, with the steps that it reached."""
        return self.scheduler.left() if isinstance(self.scheduler, Finishing) else {}

    def promoted(self, paused: Collection[str]) -> str | None:
        """One of the paused trials that is promoted."""
        return _one_of(paused, self.scheduler.promote) if isinstance(self.scheduler, Promoting) else None

    def finished(self, paused: Collection[str]) -> str | None:
        """One of the paused trials that goes on, now that no more begin; the searcher may say which."""
        if not isinstance(self.scheduler, Finishing):
            return None
        left = [name for name in self.scheduler.left() if name in paused]
        if isinstance(self.searcher, Choosing) and len(left) > 1:
            chosen = self.searcher.choose(left, paused)
            if chosen in left:
                self.scheduler.finish(chosen)
                return chosen
        return _one_of(paused, self.scheduler.finish)

    def state(self) -> dict[str, Any]:
        """The state of both, plain JSON."""
        return {"searcher": self.searcher.state(), "scheduler": self.scheduler.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a state; of another version, or a damaged one, nothing: it raises whatever is wrong."""
        before = self.state()
        try:
            self._load(state)
        except Exception:
            self._load(before)
            raise

    def _load(self, state: Mapping[str, Any]) -> None:
        self.searcher.load(state["searcher"])
        self.scheduler.load(state["scheduler"])


def _one_of(paused: Collection[str], promote: Callable[[], str | None]) -> str | None:
    """The first that is promoted and waits."""
    while (name := promote()) is not None:
        if name in paused:
            return name
    return None
