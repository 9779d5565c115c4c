"""Syne Tune's MOASHA, with its own defaults, as a scheduler of ours.

Its default priority returns the trials' indices in sorted order where its brackets read a rank for each
trial, so that newcomers that dominate all others may be stopped. Nothing is mended here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from raysearch.basics import extras
from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision, Outcome

_RESOURCE = "epoch"


class MOASHA:
    """Passes each report to Syne Tune's scheduler object and gives back its decision.

    Args:
        goals: objectives; constraints are not known to it.
        max_step: the last step.

    Raises:
        ImportError: Syne Tune is not installed.
    """

    def __init__(self, goals: Goals, *, max_step: int) -> None:
        module = extras.load("syne_tune.optimizer.schedulers.multiobjective.moasha", "peers")
        self._trial = extras.load("syne_tune.backend.trial_status", "peers").Trial
        self._goals = goals
        self._peer = module.MOASHA(
            {}, metrics=list(goals.metrics), time_attr=_RESOURCE, max_t=max_step, random_seed=0
        )
        self._known: dict[str, Any] = {}

    def decide(self, trial: str, step: int, values: Mapping[str, float]) -> Decision:
        """STOP where Syne Tune stops."""
        if trial not in self._known:
            self._known[trial] = self._trial(len(self._known), {}, datetime(2000, 1, 1))
            self._peer.on_trial_add(self._known[trial])
        costs = dict(zip(self._goals.metrics, self._goals.costs(values).tolist(), strict=True))
        answer = self._peer.on_trial_result(self._known[trial], {**costs, _RESOURCE: step})
        return Decision.STOP if answer == "STOP" else Decision.CONTINUE

    def end(self, trial: str, outcome: Outcome) -> None:
        """Syne Tune keeps what it has."""

    def state(self) -> dict[str, Any]:
        """None: a peer is never resumed."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to take over."""
