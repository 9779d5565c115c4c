"""Before any trial: whether networks of a study's space can be pruned, quantised, exported and run."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from ray import cloudpickle

from raysearch import backends
from raysearch.backends.base import Feed
from raysearch.basics.failures import UserError, first_line
from raysearch.runs.conditions import Conditions
from raysearch.search_spaces.space import Space
from raysearch.trainables.setup import TrialSetup
from raysearch.trainables.stages import TrialStages
from raysearch.trainables.task import Task
from raysearch.trainables.task_check import check_task


def check_deployable(conditions: Conditions, space: Space) -> None:
    """Try the task, and take the parent and the last network of the fixed design through step 0.

    Networks are untrained and unmeasured. The last of the design is pruned most and quantised, so that both
    meet every layer.

    Raises:
        ValueError: the task cannot work, or a network cannot be made, pruned, traced, exported or run on a
            target; layer and operator are named as far as they are known.
    """
    parent = conditions.parent
    check_task(conditions.task, space.variant(parent).plan.architecture)
    with tempfile.TemporaryDirectory() as folder:
        setup = TrialSetup(
            conditions.task,
            space,
            conditions.targets,
            conditions.epochs,
            Path(folder),
            seed=conditions.seed,
        )
        for number, config in enumerate([parent, *space.design(parent)[-1:]]):
            try:
                TrialStages(setup, f"check-{number}", config, _run_once).next_report()
            except RuntimeError as error:  # torch's own errors, and a runtime that refuses the file
                what = "the parent" if number == 0 else "a pruned and quantised network"
                raise UserError(f"{what} does not run: {first_line(error)}") from error


def check_sendable(task: Task) -> None:
    """Refuse a task that cannot be sent to workers.

    Raises:
        ValueError: naming the field that cannot be pickled.
    """
    for field in fields(task):
        try:
            cloudpickle.dumps(getattr(task, field.name))  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever a user's object raises
            raise UserError(
                f"the task's {field.name} cannot be pickled, as it must be to reach the workers: "
                f"{first_line(error)}"
            ) from error


def _run_once(
    target: str, path: Path, example: Feed, *, reference: bool = False, again: bool = False
) -> dict[str, Any]:
    """One inference in place of a measurement."""
    backends.get(target).load(path)(example)
    return {"target": target, "latency_ms": float("nan")}
