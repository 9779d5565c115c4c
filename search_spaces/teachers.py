"""Which network a student is distilled from, and how strongly (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces.arguments import floats
from raysearch.search_spaces.keys import as_float, check_keys

NAMES = ("none", "parent", "larger")


@dataclass(frozen=True)
class TeacherPlan:
    """The teacher's name ("none", "parent", "larger"), the softmax temperature and its share of the loss."""

    name: str = "none"
    temperature: float = 4.0
    weight: float = 0.5

    @property
    def active(self) -> bool:
        """Whether there is a teacher."""
        return self.name != "none"


def teachers(
    *names: str | None,
    temperature: float | tuple[float, float] = (1, 8),
    weight: float | tuple[float, float] = (0.1, 0.9),
) -> dict[str, Any]:
    """A space of teachers.

    Args:
        names: one or more of None (train on the labels alone), "parent" and "larger" (the parent with its
            widths doubled; only where there is an architecture).
        temperature: what logits are divided by, or its range.
        weight: the share of the distillation loss, in [0, 1], or its range.

    Returns:
        Nested Tune domains.

    Raises:
        ValueError: no name, an unknown or repeated one, or a range with low >= high.
    """
    from ray import tune

    spelled = ["none" if name is None else name for name in names]
    if not spelled or any(n not in NAMES for n in spelled) or len(set(spelled)) < len(spelled):
        raise UserError(f"teachers{names!r} must name each teacher once, from None, 'parent', 'larger'")
    space = {
        "name": tune.choice(spelled),
        "temperature": floats("temperature", temperature),
        "weight": floats("weight", weight),
    }
    bounds = weight if isinstance(weight, (tuple, list)) else (weight,)
    if not all(0 <= w <= 1 for w in bounds):
        raise UserError(f"weight={weight!r} is not within [0, 1]")
    return space


def decode_teacher(config: Mapping[str, Any]) -> TeacherPlan:
    """The plan of a teacher config; without a teacher the other settings are inactive.

    Raises:
        ValueError: an unknown key or name, or a setting out of range.
    """
    check_keys(config, ("name", "temperature", "weight"), "teacher")
    name = config.get("name") or "none"
    if name not in NAMES:
        raise UserError(f"teacher/name is {name!r}, not one of {', '.join(NAMES)}")
    if name == "none":
        return TeacherPlan()
    plan = TeacherPlan(
        name,
        as_float(config.get("temperature", TeacherPlan.temperature), "teacher/temperature"),
        as_float(config.get("weight", TeacherPlan.weight), "teacher/weight"),
    )
    if not 0 < plan.temperature < math.inf:
        raise UserError(f"teacher/temperature is {plan.temperature}: it must be positive and finite")
    if not 0 <= plan.weight <= 1:
        raise UserError(f"teacher/weight is {plan.weight}, not within [0, 1]")
    return plan


def encode_teacher(plan: TeacherPlan) -> dict[str, Any]:
    """The canonical config of a plan with a teacher."""
    return asdict(plan)
