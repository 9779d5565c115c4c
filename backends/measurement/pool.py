"""The devices of one kind, their processes, and who waits for one."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from raysearch.backends.measurement.notes import Reference
from raysearch.backends.measurement.process import Where
from raysearch.backends.measurement.spared import Seconds


@dataclass(eq=False)
class Unit:
    """A device with its process.

    Attributes:
        where: its node, and its number there.
        actor: the process.
        references: those that it was given, by target.
        at_work: the digest of the model that it has in hand.
        new: whether it has not been asked yet what the process before it died of.
    """

    where: tuple[str, int]
    actor: Any
    references: dict[str, Reference] = field(default_factory=dict)
    at_work: str = ""
    new: bool = True


@dataclass(eq=False)
class Pool:
    """The devices of a place, who waits for one, and what a measurement there takes.

    Attributes:
        died: of a device whose process died, the model that it had in hand.
    """

    place: Where
    seconds: Seconds = field(default_factory=Seconds)
    units: dict[tuple[str, int], Unit] = field(default_factory=dict)
    free: deque[Unit] = field(default_factory=deque)
    waiting: deque[asyncio.Future[Unit]] = field(default_factory=deque)
    died: dict[tuple[str, int], str] = field(default_factory=dict)
    looked: float = -math.inf

    @property
    def wait(self) -> float:
        """Seconds until a device is free for who comes now; inf where there is none."""
        ahead = len(self.waiting) + len(self.units) - len(self.free)
        return self.seconds.mean * ahead / len(self.units) if self.units else math.inf

    def offer(self, unit: Unit) -> None:
        """Hand a device to who has waited longest, or keep it."""
        unit.at_work = ""
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(unit)
                return
        self.free.append(unit)

    def lose(self, unit: Unit) -> None:
        """Forget a device whose process is gone."""
        if self.units.get(unit.where) is unit:
            del self.units[unit.where]
            self.died[unit.where] = unit.at_work
