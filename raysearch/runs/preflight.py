"""Before any trial: whether networks of a study's space can be pruned, quantised, exported and run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch import backends
from raysearch.basics.failures import UserError, first_line
from raysearch.runs.conditions import Conditions
from raysearch.search_spaces.space import Space
from raysearch.trainables.setup import TrialSetup
from raysearch.trainables.stages import TrialRun


def check_deployable(conditions: Conditions, space: Space) -> None:
    """Take the parent and the last network of the fixed design through step 0, untrained and unmeasured.

    The last of the design is the one that is pruned most and quantised, so that both meet every layer.

    Raises:
        ValueError: one cannot be made, pruned, traced, exported or run on a target; layer and operator are
            named as far as they are known.
    """
    parent = conditions.parent
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
                TrialRun(setup, f"check-{number}", config, _run_once).next_report()
            except RuntimeError as error:  # torch's own errors, and a runtime that refuses the file
                what = "the parent" if number == 0 else "a pruned and quantised network"
                raise UserError(f"{what} does not run: {first_line(error)}") from error


def _run_once(
    target: str, path: Path, example: NDArray[np.float32], *, reference: bool = False, again: bool = False
) -> dict[str, Any]:
    """One inference in place of a measurement."""
    backends.get(target).load(path)(example)
    return {"target": target, "latency_ms": float("nan")}
