"""How late an event loop is: what requests wait before a router can see them, and their answers after it."""

from __future__ import annotations

import asyncio
import time
from collections import deque

import numpy as np

_BEAT_S, _WEIGHT, _IDLE_S = 0.01, 0.2, 1.0
_ROUND = 10  # beats until the answers are looked at
_RECENT_S, _MOST = 2.0, 0.75


class Lateness:
    """Of one event loop, in ms; 0 while nobody asks.

    Attributes:
        before_ms: how late the loop wakes up, on the mean of the last beats.
        after_ms: within what three of four answers of the last two seconds were sent once they were there.
            A mean would be that of stalls, and so would a higher quantile: what comes after a stall would be
            refused.
    """

    def __init__(self) -> None:
        self.before_ms = self.after_ms = 0.0
        self._asked = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._answers: deque[tuple[float, float]] = deque()

    def asked(self) -> None:
        """A request has come: the loop is watched for a while."""
        self._asked = time.monotonic()
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())

    def answered(self, after_ms: float) -> None:
        """An answer is sent so long after it was there."""
        self._answers.append((time.monotonic(), max(0.0, after_ms)))

    async def _beat(self) -> None:
        loop, beats = asyncio.get_running_loop(), 0
        while time.monotonic() < self._asked + _IDLE_S:
            due = loop.time() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
            late = max(0.0, loop.time() - due)
            self.before_ms += _WEIGHT * (1e3 * late - self.before_ms)
            beats += 1
            if beats % _ROUND == 0:
                self._look_back()
        self._answers.clear()
        self.before_ms = self.after_ms = 0.0

    def _look_back(self) -> None:
        since = time.monotonic() - _RECENT_S
        while self._answers and self._answers[0][0] < since:
            self._answers.popleft()
        self.after_ms = float(np.quantile([ms for _, ms in self._answers], _MOST)) if self._answers else 0.0
