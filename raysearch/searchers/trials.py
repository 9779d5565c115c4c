"""What a searcher knows of its trials: those under way, and what came of each that ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Outcome
from raysearch.searchers.encoding import Vector
from raysearch.searchers.novelty import Novelty

FINISHED = math.inf
"""The level of a finished trial."""


@dataclass
class Running:
    """A trial under way: its point, the last step told, the latest value of each metric."""

    vector: list[float]
    step: int = -1
    values: dict[str, float] = field(default_factory=dict)


@dataclass
class Member:
    """A trial that ended and counts; ``level`` is the step it was stopped at, inf when it finished."""

    vector: list[float]
    costs: list[float]
    violation: float
    level: float


class Trials:
    """The trials under way, by name.

    A trial counts with the latest value of each metric. One that failed, was stopped before its first report,
    or finished without an objective counts not at all.
    """

    def __init__(self, goals: Goals) -> None:
        self._goals = goals
        self.running: dict[str, Running] = {}
        self.asked = 0

    def ask(
        self,
        trial: str,
        given: Config | None,
        novelty: Novelty,
        propose: Callable[[], tuple[Vector, Config] | None],
    ) -> Config | None:
        """A trial begins with the config given, or with what is proposed; None where that is nothing.

        Args:
            trial: its name.
            given: a config that somebody else chose.
            novelty: takes what is given.
            propose: finds a point of the unit cube, shape (n,), and its config; called where none is given.

        Raises:
            ValueError: the trial was asked for already and has not ended, or the config given is not legal.
        """
        if trial in self.running:
            raise ValueError(f"trial {trial!r} was asked for already: give each trial its own name")
        found = propose() if given is None else novelty.given(given)
        if found is None:
            return None
        vector, config = found
        self.running[trial] = Running(vector.tolist())
        self.asked += 1
        return config

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric; an unknown trial or an earlier step is ignored."""
        running = self.running.get(trial)
        if running is not None and step > running.step:
            running.step = step
            running.values.update(values)

    def end(self, trial: str, outcome: Outcome) -> Member | None:
        """What came of the trial; None where it does not count."""
        running = self.running.pop(trial, None)
        if running is None or outcome == "failed" or not running.values:
            return None
        costs = self._goals.costs(running.values)
        if outcome == "finished" and np.isnan(costs).any():
            return None
        level = FINISHED if outcome == "finished" else float(running.step)
        violation = self._goals.violation(running.values, running.step)
        return Member(running.vector, costs.tolist(), violation, level)

    def state(self) -> dict[str, Any]:
        """How many were asked for, and the running ones, as plain JSON."""
        running = {trial: asdict(running) for trial, running in self.running.items()}
        return {"asked": self.asked, "running": running}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.asked = state["asked"]
        self.running = {
            trial: Running(r["vector"], r["step"], dict(r["values"])) for trial, r in state["running"].items()
        }
