"""What the replicas of a server share: the front, the limits, and what each has counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from raysearch.serving.counts import Counts, total

#: What a replica keeps to: "version", "front", "front_version" (at which it was set), "limits", and "began",
#: the front and limits with which the application was deployed.
State = dict[str, Any]

_POLL_S = 0.5
_SILENT_S = 5.0  # a replica that has not been heard of for so long is gone
_GONE_S = 120.0  # and after so long it will not come back
_PATIENCE_S = 120.0  # for all replicas: another front has to be opened and measured


class Shared:
    """The front and the limits, under a version, and the last counts of each replica: an actor's class."""

    def __init__(self) -> None:
        self._state: State = {"version": 0, "began": None}
        self._counts: dict[str, Counts] = {}
        self._past = Counts(replicas=0)  # of replicas that are gone
        self._heard: dict[str, float] = {}
        self._at: dict[str, int] = {}
        self._errors: dict[str, str] = {}
        self._changed = asyncio.Condition()
        self._changing = asyncio.Lock()

    async def begin(self, front: str, limits: Mapping[str, Any]) -> State:
        """What a replica begins with that was deployed with a front and limits.

        If those are others than the state began from, the application has been deployed anew, and they go
        before what has been changed since.
        """
        async with self._changed:
            self._forget_the_gone()
            began = {"front": front, "limits": dict(limits)}
            if self._state["began"] != began:
                version = self._state["version"] + 1
                self._state = {"version": version, "front_version": version, **began, "began": began}
                self._changed.notify_all()
            return self._state

    async def exchange(
        self, replica: str, state: State, counts: Counts, error: str = "", newest: int | None = None
    ) -> State:
        """A replica tells what it keeps to and what it counted; it gets the next state, or soon the same.

        Args:
            replica: its name.
            state: what it keeps to.
            counts: its own.
            error: why it cannot keep to what it was told, if so.
            newest: the version of which it knows; that of ``state`` if left out.
        """
        known = state["version"] if newest is None else newest
        async with self._changed:
            own = self._state
            if own["began"] is None or (own["began"] == state["began"] and state["version"] > own["version"]):
                self._state = state  # this actor has been started anew
            self._counts[replica], self._heard[replica] = counts, time.monotonic()
            self._at[replica], self._errors[replica] = state["version"], error
            self._changed.notify_all()
            await self._wait_for(lambda: self._state["version"] > known, _POLL_S)
            return self._state

    async def change(self, front: str | None = None, limits: Mapping[str, Any] | None = None) -> list[str]:
        """Another front, or limits that change; once all replicas keep to them.

        Changes come one after another, and one that a replica cannot keep to is taken back.

        Returns:
            Why replicas cannot keep to it; those that have not followed for minutes are named.
        """
        async with self._changing, self._changed:
            if not await self._wait_for(lambda: self._state["began"] is not None, _SILENT_S):
                return ["no replica is there"]
            before, version = self._state, self._state["version"] + 1
            self._state = before | {"version": version, "limits": before["limits"] | dict(limits or {})}
            if front is not None:
                self._state |= {"front": front, "front_version": version}
            asked = self._live()
            self._changed.notify_all()
            await self._wait_for(lambda: not self._missing(asked, version), _PATIENCE_S)
            errors = [self._errors[r] for r in asked if self._at[r] >= version and self._errors[r]]
            late = self._missing(asked, version)
            errors += [f"replica {r} has not followed within {_PATIENCE_S:g} s" for r in late]
            if errors and self._state["began"] == before["began"]:
                self._state = before | {"version": self._state["version"] + 1}
                self._changed.notify_all()
            return errors

    async def counts(self) -> Counts:
        """The sum over replicas; of those that are gone what they had done, and nothing that waits."""
        live = set(self._live())
        for replica in self._counts.keys() - live:
            self._counts[replica].waiting = self._counts[replica].replicas = 0
        return total([self._past, *self._counts.values()])

    async def _wait_for(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Wait while holding the condition; it looks now and then, since a replica may just fall silent."""
        ending = time.monotonic() + seconds
        while not reached() and (left := ending - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(left, _POLL_S)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return reached()

    def _missing(self, asked: list[str], version: int) -> list[str]:
        live = set(self._live())
        return [replica for replica in asked if replica in live and self._at[replica] < version]

    def _live(self) -> list[str]:
        return [replica for replica in self._heard if self._silence(replica) < _SILENT_S]

    def _silence(self, replica: str) -> float:
        return time.monotonic() - self._heard[replica]

    def _forget_the_gone(self) -> None:
        for replica in [r for r in self._heard if self._silence(r) > _GONE_S]:
            counts = self._counts.pop(replica)
            counts.waiting = counts.replicas = 0
            self._past = total([self._past, counts])
            del self._heard[replica], self._at[replica], self._errors[replica]


def follow(
    state: State,
    exchange: Callable[[State, str, int], State],
    keep_to: Callable[[State, State], tuple[State, str]],
) -> None:
    """Keep to what a board says, for as long as a replica lives: its own thread.

    What takes long (opening sessions) is done beside, so that the replica is heard of meanwhile.

    Args:
        state: what the replica keeps to at first.
        exchange: see ``Shared``: of the state that is kept to, why not to the newest, and that one's version.
        keep_to: from one state to another; the state that it comes to, and why that is not the other.
    """
    newest, error = state, ""
    opening: Future[tuple[State, str]] | None = None
    with ThreadPoolExecutor(1, "raysearch-serving-opening") as beside:
        while True:
            newest = exchange(state, error, newest["version"])
            if opening is None and newest["version"] != state["version"]:
                opening = beside.submit(keep_to, state, newest)
            if opening is not None and wait([opening], _POLL_S).done:
                (state, error), opening = opening.result(), None
