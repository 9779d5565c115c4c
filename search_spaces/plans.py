"""What a config amounts to: the typed plan of a whole trial, and the variant that it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from raysearch.search_spaces.architectures import Architecture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.pruning.channel_pruning import PruningPlan
from raysearch.search_spaces.pruning.weight_sparsity import SparsityPlan
from raysearch.search_spaces.teachers import TeacherPlan
from raysearch.search_spaces.training import TrainingPlan

Config = dict[str, Any]


@dataclass(frozen=True)
class TrialPlan:
    """What one trial does.

    Args:
        architecture: None for a given model.
        pruning: None where no channel is removed.
        sparsity: None where no single weight is.
        bits: all 32 where nothing is quantised.
        teacher: named "none" where there is none.
        training: settings of the optimiser and the schedule.
    """

    architecture: Architecture | None = None
    pruning: PruningPlan | None = None
    sparsity: SparsityPlan | None = None
    bits: BitWidthPlan = field(default_factory=BitWidthPlan)
    teacher: TeacherPlan = field(default_factory=TeacherPlan)
    training: TrainingPlan = field(default_factory=TrainingPlan)

    @property
    def may_exit(self) -> bool:
        """Whether the network may be left early, as far as is known without making it."""
        return self.architecture is not None and self.architecture.may_exit()


@dataclass(frozen=True)
class Variant:
    """What a config amounts to.

    Args:
        config: its canonical form, JSON types only, which is its own canonical form.
        key: a short hash of the canonical form: equal keys, equal variants.
        active: the searched names that matter to it, flattened: "architecture/stage1/width".
        plan: what every part of it decodes to.
    """

    config: Config
    key: str
    active: frozenset[str]
    plan: TrialPlan
