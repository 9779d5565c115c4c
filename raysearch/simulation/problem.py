"""What a simulated cluster works on, and what happened there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from raysearch.schedulers.base import Decision
from raysearch.searchers.base import Config, Outcome


@dataclass(frozen=True)
class Problem:
    """What a trial reports, and what that costs.

    Args:
        values: from a config and a step to the metrics reported at that step.
        last_step: the step at which a trial is finished.
        first_step: its first report: 1, or 0 where a hardware report comes before training.
        cost: from a config and a step to the simulated time that the step takes, >= 0.
    """

    values: Callable[[Config, int], Mapping[str, float]]
    last_step: int
    first_step: int = 1
    cost: Callable[[Config, int], float] = lambda config, step: 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """One report: ``time`` when it arrived, ``spent`` the cost of all work until then, its own included."""

    time: float
    spent: float
    trial: str
    step: int
    values: Mapping[str, float]
    decision: Decision


@dataclass
class Simulation:
    """What happened.

    Attributes:
        configs: by trial, in the order in which they began.
        reports: in order of arrival.
        outcomes: of the trials that ended.
        crashes: how often a trial crashed, by trial; without those that never did.
        unanswered: how often a worker was free, a trial might have begun, and the searcher had no config.
        idle: the time of workers, added up, that passed while such a question was open.
    """

    configs: dict[str, Config] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    crashes: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    idle: float = 0.0

    @property
    def spent(self) -> float:
        """The cost of all work done until the last report."""
        return self.reports[-1].spent if self.reports else 0.0
