"""Pure stopping rules, one a file, and the adapter that makes any of them Tune's."""

from __future__ import annotations

from raysearch.objectives import Goals
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.hardware_first import HardwareFirst
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.spelling import did_you_mean

SCHEDULERS = ("successive_halving", "full_training")


def make_scheduler(name: str, goals: Goals, *, max_step: int, grace: int = 1) -> Scheduler:
    """The scheduler of this name, fresh; under any of them a static violation stops a trial at step 0.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"scheduler {name!r} is unknown; {did_you_mean(name, SCHEDULERS)}")
    if name == "full_training":
        return HardwareFirst(FullTraining(), goals)
    return HardwareFirst(SuccessiveHalving(goals, max_step=max_step, grace=grace), goals)
