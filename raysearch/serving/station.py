"""A queue with a rule in front of it: who is let in, who is served next and with which variant. Pure.

The router and the simulator run this same code; times are in ms of the caller's clock.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from raysearch.serving.latencies import Latencies
from raysearch.serving.policy import Choice, Rule

R = TypeVar("R")

MOST_WAITING = 4096
_EQUAL = 1e-6  # ms: clocks of long-running machines are no finer


@dataclass(frozen=True)
class Taken(Generic[R]):
    """What a free worker takes from the queue.

    Attributes:
        expired: requests for which even the fastest variant is too late by now; they are not served.
        requests: to be served together; none where no other waits.
        choice: with which variant.
    """

    expired: list[R] = field(default_factory=list)
    requests: list[R] = field(default_factory=list)
    choice: Choice | None = None


class Station(Generic[R]):
    """Requests that wait, the earliest deadline first, and the workers that serve them.

    Args:
        rule: chooses the variants; it may be replaced at any time.
        costs: of the variants; they may be replaced at any time.
        workers: that serve at once.
    """

    def __init__(self, rule: Rule, costs: Latencies, workers: int = 1) -> None:
        self.rule, self.costs, self.workers = rule, costs, workers
        self._deadlines = array("d")  # which numpy reads as it is
        self._requests: list[R] = []
        self._busy: dict[int, float] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._requests)

    def arrive(self, now: float, request: R, deadline: float) -> float | None:
        """Let a request in, or say how late it would be.

        Where nothing waits and no worker is busy, one that fits what was measured at first is let in whatever
        is expected by now: else a stall that made every variant look slow would never be forgotten.

        Returns:
            None where it waits now; else by how many ms it would be late with the fastest variant, behind
            those that are due before it: it is refused.
        """
        place = bisect_right(self._deadlines, deadline)
        before = place // self.workers * self.costs.pace
        late = self._first_free(now) + before + self.costs.fastest - deadline
        tried = not self._requests and self._may_be_tried(now, deadline)
        if (late > _EQUAL and not tried) or len(self) >= MOST_WAITING:
            return max(late, 0.0)
        self._deadlines.insert(place, deadline)
        self._requests.insert(place, request)
        return None

    def take(self, now: float, worker: int) -> Taken[R]:
        """What a free worker does now; it is busy until ``done``."""
        costs = self.costs
        late = bisect_right(self._deadlines, now + costs.fastest - _EQUAL)
        if late == len(self) == 1 and self._may_be_tried(now, self._deadlines[0]):
            expired, choice = list[R](), Choice(costs.first_fastest[0])
        else:
            expired = self._pop(late)
            if not self._requests:
                return Taken(expired)
            choice = self.rule.choose(now, self._deadlines, costs, self.workers)
        self.busy(worker, now + costs.times[costs.sizes.index(choice.batch)][choice.variant])
        return Taken(expired, self._pop(choice.batch), choice)

    def busy(self, worker: int, until: float) -> None:
        """A worker is expected to be busy until a time."""
        self._busy[worker] = until

    def done(self, worker: int) -> None:
        """A worker is free again."""
        self._busy.pop(worker, None)

    def leave(self, request: R) -> bool:
        """Take out a request that nobody waits for any more; says whether it was still in the queue."""
        if request not in self._requests:
            return False
        place = self._requests.index(request)
        del self._requests[place], self._deadlines[place]
        return True

    def _may_be_tried(self, now: float, deadline: float) -> bool:
        """Whether a request that is alone would be in time if inferences took what was measured at first."""
        return not self._busy and now + self.costs.first_fastest[1] <= deadline + _EQUAL

    def _first_free(self, now: float) -> float:
        ends = self._busy.values()
        return max(now, min(ends)) if len(ends) >= self.workers else now

    def _pop(self, count: int) -> list[R]:
        popped = self._requests[:count]
        del self._requests[:count], self._deadlines[:count]
        return popped
