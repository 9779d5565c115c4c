"""How many trials a study may have at work, as its cluster grows and shrinks and others come and go."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from raysearch.runs.cluster.demand import Demand
from raysearch.runs.cluster.nodes import Nodes, is_scaled
from raysearch.runs.cluster.sharing import Claims, announced, shares

_LOOK_S = 1.0  # between looks at the cluster: a suggestion, of which there may be many a second, asks none
_GROWING_S = 60.0  # in which a node that was asked for should have come, or be on its way


@dataclass(frozen=True)
class _Seen:
    """The cluster at one look: places for trials, their nodes, what all studies ask for, which is this."""

    places: int
    nodes: int
    draining: frozenset[str]
    claims: tuple[int | None, ...]
    mine: int


class Workers:
    """A function of no arguments: how many trials may be at work now, at least one.

    A study that asked for a number has it, so that what it lacks is demand that an autoscaler sees. One that
    did not takes what there is. Where several studies are on the cluster, each has its share of what there
    is; if nodes may still come, one that asked for a number has that until nothing has changed for a minute.

    Args:
        demand: a trial's.
        asked: the number that was asked for; None: as many as there are places.
        claims: of all studies at work, and which one is this.
        scaled: whether nodes come on demand.
        look: at the nodes.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        demand: Demand,
        asked: int | None,
        claims: Claims | None = None,
        scaled: Callable[[], bool] = is_scaled,
        look: Callable[[], Nodes] = Nodes.now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.demand, self.asked = demand, asked
        self._claims = claims or (lambda: ([asked], 0))
        self._scaled, self._look, self._clock = scaled, look, clock
        self._seen: _Seen | None = None
        self._looked = self._changed = -math.inf

    def __call__(self) -> int:
        """As many as may be at work now; the cluster is looked at once a second at most."""
        seen = self._cluster()
        alone = len(seen.claims) == 1
        growing = self._clock() - self._changed < _GROWING_S
        if self.asked is not None and (alone or (growing and self._scaled())):
            return self.asked
        return max(1, self._share(seen))

    def lets_go(self, node: str, at_work: int) -> bool:
        """Whether the worker of a trial that has ended goes too, rather than begin another trial.

        Args:
            node: where it is.
            at_work: how many trials this study has besides.
        """
        seen = self._cluster()
        # Where studies outnumber the places, each trial's end is another study's turn.
        crowded = 0 in shares(seen.places, seen.claims)
        return crowded or node in seen.draining or at_work >= self()

    def words(self, at_work: int) -> str:
        """What there is to say of a cluster with trials at work; nothing of one machine with room for all.

        Args:
            at_work: this study's trials that are not paused.
        """
        if (seen := self._seen) is None or not at_work:
            return ""
        others, waiting = len(seen.claims) - 1, max(0, at_work - seen.places)
        if seen.nodes == 1 and not (others or waiting or seen.draining):
            return ""
        parts = [f"{min(at_work, seen.places)} at work on {_count(seen.nodes, 'node')}"]
        parts += [f"{waiting} waiting for a node"] if waiting else []
        parts += [f"{_count(len(seen.draining), 'node')} about to go"] if seen.draining else []
        parts += [f"shared with {others} other stud{'y' if others == 1 else 'ies'}"] if others else []
        return ", ".join(parts)

    def _cluster(self) -> _Seen:
        now = self._clock()
        if self._seen is None or now - self._looked >= _LOOK_S:
            nodes, (claims, mine) = self._look(), self._claims()
            seen = _Seen(*nodes.places(self.demand), nodes.draining, tuple(claims), mine)
            self._looked = now
            if seen != self._seen:
                self._seen, self._changed = seen, now
        return self._seen

    def _share(self, seen: _Seen) -> int:
        return shares(seen.places, seen.claims)[seen.mine]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@contextmanager
def at_work(demand: Demand, asked: int | None) -> Iterator[Workers]:
    """The workers of a study, which the other studies of the cluster know of until the end."""
    with announced(asked) as claims:
        yield Workers(demand, asked, claims)
