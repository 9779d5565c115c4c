"""The typed plan of a whole trial: what every part of a config decodes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.channel_pruning import PruningPlan
from raysearch.search_spaces.resnet import ResNetPlan
from raysearch.search_spaces.teachers import TeacherPlan
from raysearch.search_spaces.training import TrainingPlan


@dataclass(frozen=True)
class TrialPlan:
    """What one trial does.

    Args:
        architecture: None for a user's own model.
        pruning: None where no channel is removed.
        bits: all 32 where nothing is quantised.
        teacher: named "none" where there is none.
        training: settings of the optimiser and the schedule.
    """

    architecture: ResNetPlan | None = None
    pruning: PruningPlan | None = None
    bits: BitWidthPlan = field(default_factory=BitWidthPlan)
    teacher: TeacherPlan = field(default_factory=TeacherPlan)
    training: TrainingPlan = field(default_factory=TrainingPlan)
