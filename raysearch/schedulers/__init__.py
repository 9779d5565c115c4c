"""Pure stopping rules, one a file, and the adapter that makes any of them Tune's."""

from __future__ import annotations

from raysearch.methods import Choice, Method, check_choice, make
from raysearch.objectives import Goals
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.hardware_first import HardwareFirst

SCHEDULERS = {
    "successive_halving": Method(
        "raysearch.schedulers.successive_halving:SuccessiveHalving", "the best 1/eta of each rung go on"
    ),
    "front_halving": Method(
        "raysearch.schedulers.front_halving:FrontHalving",
        "what may end on the front goes on, the best first; the rest pauses",
    ),
    "median_stopping": Method(
        "raysearch.schedulers.median_stopping:MedianStopping", "the worse half at the same step stops"
    ),
    "learning_curve": Method(
        "raysearch.schedulers.learning_curve:LearningCurveStopping",
        "halving, and between its rungs what its curve will not bring onto the front stops",
    ),
    "full_training": Method("raysearch.schedulers.full_training:FullTraining", "nothing is stopped early"),
}


def make_scheduler(choice: Choice, goals: Goals, *, max_step: int, grace: int = 1) -> Scheduler:
    """The scheduler of this name, fresh; under any of them a static violation stops a trial at step 0.

    Raises:
        ValueError: the name or an option is unknown, or an option's value is wrong.
    """
    checked = check_choice("scheduler", choice, SCHEDULERS)
    return HardwareFirst(make(checked, SCHEDULERS, goals=goals, max_step=max_step, grace=grace), goals)
