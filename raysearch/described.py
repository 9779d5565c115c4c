"""A run's work as plain data, in the form of a study file: what its journal begins with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raysearch.backends import spec_of
from raysearch.objectives import Goals
from raysearch.runs.conditions import Conditions
from raysearch.search_spaces.space import Space
from raysearch.study_file.space_text import dump_space


def describe(
    conditions: Conditions,
    space: Space,
    goals: Goals,
    method: Mapping[str, Any],
) -> dict[str, Any]:
    """A run's work as plain data in the form of a study file, as the journal reads it back.

    Args:
        conditions: what holds for every trial.
        space: bound.
        goals: objectives and constraints.
        method: ``searcher``, ``scheduler``, ``evaluate_first``, ``grace`` and ``screen``.
    """
    search = {"epochs": conditions.epochs, **method, "seed": conditions.seed}
    document = {
        "task": conditions.task.source or {"name": conditions.task.name},
        "space": dump_space(space.domains),
        "parent": {
            **conditions.parent,
            **({"epochs": conditions.parent_epochs} if conditions.parent_epochs else {}),
        },
        "objectives": [str(o) for o in goals.objectives],
        "constraints": [str(c) for c in goals.constraints],
        "targets": [spec_of(target) for target in conditions.targets],
        "search": {**search, "resources": conditions.resources, "workers": conditions.workers},
    }
    plain: dict[str, Any] = json.loads(json.dumps(document))
    return plain


def multiple_of(described: Mapping[str, Any]) -> int | None:
    """What kept channels are multiples of in a described study; None where its space does not say."""
    found = described.get("space", {}).get("pruning", {}).get("multiple")
    return found if type(found) is int else None
