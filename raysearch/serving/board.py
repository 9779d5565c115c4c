"""What the replicas of a server share: the front, the limits, and what each has counted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from raysearch.serving.counts import Counts, total

_POLL_S = 0.5
_SILENT_S = 5.0  # a replica that has not been heard of for so long is gone
_LIMITS_S, _FRONT_S = 2.0, 120.0


class Shared:
    """The front and the limits, under a version, and the last counts of each replica: an actor's class."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = {"version": 0, "front": None, "limits": None}
        self._counts: dict[str, Counts] = {}
        self._heard: dict[str, float] = {}
        self._at: dict[str, int] = {}
        self._errors: dict[str, str] = {}
        self._changed = asyncio.Condition()

    async def state(self) -> dict[str, Any]:
        """The front, the limits and their version."""
        return self._state

    async def exchange(
        self, replica: str, state: dict[str, Any], counts: Counts, error: str = ""
    ) -> dict[str, Any]:
        """A replica tells what it keeps to and what it counted; it gets the next state, or soon the same."""
        async with self._changed:
            if self._state["front"] is None or state["version"] > self._state["version"]:
                self._state = state  # at the start, or since this actor has been started anew
            self._counts[replica], self._heard[replica] = counts, time.monotonic()
            self._at[replica], self._errors[replica] = state["version"], error
            self._changed.notify_all()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._changed.wait_for(lambda: self._state["version"] > state["version"]), _POLL_S
                )
            return self._state

    async def change(self, front: str | None = None, limits: Mapping[str, Any] | None = None) -> list[str]:
        """Another front, or other limits; once all replicas have them, why some cannot keep to them."""
        async with self._changed:
            before = self._state
            changes = {"front": front or before["front"], "limits": limits or before["limits"]}
            self._state = {"version": before["version"] + 1, **changes}
            version, asked = self._state["version"], self._live()
            self._changed.notify_all()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._changed.wait_for(lambda: all(self._at[r] >= version for r in asked)),
                    _LIMITS_S if front is None else _FRONT_S,
                )
            errors = [self._errors[r] for r in asked if self._errors[r]]
            if errors:
                self._state = before | {"version": version + 1}
                self._changed.notify_all()
            return errors

    async def counts(self) -> Counts:
        """The sum over replicas; of those that are gone what they had done, and nothing that waits."""
        live = set(self._live())
        for replica in self._counts.keys() - live:
            self._counts[replica].waiting = self._counts[replica].replicas = 0
        return total(self._counts.values())

    def _live(self) -> list[str]:
        now = time.monotonic()
        return [replica for replica, heard in self._heard.items() if now - heard < _SILENT_S]
