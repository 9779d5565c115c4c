"""A sweep: each part of a network pruned by itself, and all together, every ratio a trial of a run.

plan = plan_of("examples/sweep_digits.yaml")
table = sweep(plan, folder="runs/sweep")

Each is retrained and measured. Curves are fitted to the table (``raysearch.allocation.branches_of``), and a
budget is divided over them (``raysearch.allocation.allocate``). The run's journal, whose study has a key
``sweep``, holds everything: a sweep that was interrupted goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raysearch.basics.failures import RunError
from raysearch.described import multiple_of
from raysearch.objectives import Constraint, Objective
from raysearch.record.journal import read
from raysearch.record.writing import is_run
from raysearch.runs.conditions import check_conditions
from raysearch.runs.phases import carry_out
from raysearch.storage import Place, resolved
from raysearch.study_file.build import build_task, load
from raysearch.sweeps.parts import prunable_parts
from raysearch.sweeps.plan import Sweep, check_ratios, plan_sweep
from raysearch.sweeps.points import points_of
from raysearch.sweeps.quality import quality_of
from raysearch.sweeps.table import figures_of, table_of

if TYPE_CHECKING:
    import pandas as pd

    from raysearch.record.results import RunResult
    from raysearch.study import Study
    from raysearch.study_file.schema import StudyFile


def plan_of(file: StudyFile | str | Path) -> Sweep:
    """The sweep that a study file describes; its space and method are not read.

    Its goals are read only to know which way the task's first metric is better, where that is no accuracy.

    Args:
        file: its path, or what ``raysearch.study_file.build.load`` read.

    Returns:
        What ``sweep`` and ``measure`` take.

    Raises:
        MissingFile: there is no such file.
        ValueError: the task, the parent, a target or a part is wrong; one sentence says which and how.
    """
    file = load(Path(file)) if isinstance(file, (str, Path)) else file
    conditions = check_conditions(
        build_task(file.task),
        file.parent.model_dump(exclude_none=True) if file.parent else None,
        file.targets,
        epochs=file.search.epochs,
        seed=file.search.seed,
        resources=file.search.resources.given,
        workers=file.search.workers,
    )
    objectives = [Objective.parse(text) for text in file.objectives]
    constraints = [Constraint.parse(text) for text in file.constraints]
    return plan_sweep(
        conditions,
        file.sweep.parts,
        file.sweep.ratios,
        multiple=file.sweep.multiple,
        quality=quality_of(conditions.metrics, objectives, constraints),
    )


def sweep(
    plan: Sweep | Study,
    parts: Sequence[str] | None = None,
    ratios: Sequence[float] | None = None,
    *,
    multiple: int | None = None,
    folder: str | Place | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Prune at each ratio one part at a time, and all together; an unfinished sweep in the folder goes on.

    Args:
        plan: of ``plan_of``; or any Study, whose task, parent, targets, epochs, seed, resources and workers
            are taken, and whose space and methods are not read; its goals are as in ``plan_of``.
        parts: layers, or what holds them ("stage1"); None: those of the plan, else each that channel
            pruning may prune.
        ratios: shares of a part's channels to remove, in [0, 1); with 0, which is always measured, four or
            more. None: those of the plan, else ``raysearch.sweeps.plan.RATIOS``.
        multiple: kept channels are multiples of this; None: that of the plan, else of the run that is in the
            folder, else what the targets like. Ratios that leave the same channels are one point.
        folder: of the run; ``runs/sweep-<task>-<time>`` if left out.
        progress: whether to show the live table.

    Returns:
        See ``raysearch.sweeps.table.table_of``.

    Raises:
        ValueError: a part that is unknown, lies inside another or has no channels of its own, a ratio
            outside [0, 1), or fewer different ratios than a curve needs.
    """
    if isinstance(plan, Sweep):
        parts = plan.parts if parts is None else parts
        ratios = plan.ratios if ratios is None else ratios
        multiple = plan.multiple if multiple is None else multiple
    path = resolved(folder or _usual_folder("sweep", plan))
    multiple = multiple or _multiple_in(path)
    plan = plan_sweep(plan.conditions, parts, ratios, multiple=multiple, quality=_quality(plan))
    return table_of(run_sweep(plan, path, progress=progress).record)


def run_sweep(
    plan: Sweep, folder: Place, *, max_minutes: float | None = None, progress: bool = True
) -> RunResult:
    """Measure all points of a sweep in a run's folder; an unfinished sweep that is there goes on.

    Args:
        plan: what to measure.
        folder: of the run.
        max_minutes: ends it in time.
        progress: whether to show the live table.

    Raises:
        ValueError: the folder holds another run.
    """
    path = resolved(folder)
    held = _multiple_in(path) if plan.multiple is None else None
    if held is not None:
        plan = plan_sweep(
            plan.conditions, plan.parts, plan.ratios, multiple=held, quality=plan.points.quality
        )
    return carry_out(plan.work, len(plan.points.configs), path, max_minutes=max_minutes, progress=progress)


def measure(
    plan: Sweep | Study,
    ratios: Mapping[str, float],
    *,
    multiple: int | None = None,
    folder: str | Place | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """The network with several parts pruned at once, retrained and measured like a point of a sweep.

    What an allocation predicts can be held against it. Ratios are rounded to the channels' multiple.

    Args:
        plan: as for ``sweep``.
        ratios: the share of channels to remove from each part, in [0, 1).
        multiple: as for ``sweep``.
        folder: of the run; ``runs/pruned-<task>-<time>`` if left out.
        progress: whether to show the live table.

    Returns:
        ``accuracy`` (or another metric as ``raysearch.sweeps.quality.column`` calls it), ``size_mb`` and
        ``latency_ms`` (on the first target) of the whole network.

    Raises:
        ValueError: an unknown part, one without weights, or a ratio outside [0, 1).
        RunError: the network could not be made, or was interrupted.
    """
    check_ratios(list(ratios.values()))
    if isinstance(plan, Sweep) and multiple is None:
        multiple = plan.multiple
    parts = prunable_parts(plan.conditions, list(ratios))
    asked, quality = {name: float(ratios[name]) for name in parts}, _quality(plan)
    path = resolved(folder or _usual_folder("pruned", plan))
    points = points_of(plan.conditions, quality, [asked], multiple or _multiple_in(path))
    record = carry_out(points.work, 1, path, max_minutes=None, progress=progress).record
    trial = next(iter(record.searched()), None)
    if trial is None or trial.outcome != "finished":
        reason = trial.reason if trial and trial.reason else "it was interrupted: call again with this folder"
        raise RunError(f"the pruned network in {path} is not complete: {reason}")
    return figures_of(trial, quality, plan.conditions.targets[0].name)


def _multiple_in(folder: Place) -> int | None:
    """What channels are multiples of in the run that a folder holds, as it was resolved when that began."""
    header = next(iter(read(folder)), {}) if is_run(folder) else {}
    return multiple_of(header.get("study", {}))


def _quality(plan: Sweep | Study) -> Objective:
    """How networks are judged: as the sweep says, or by the goals of a study."""
    if isinstance(plan, Sweep):
        return plan.points.quality
    goals = plan.goals
    return quality_of(plan.conditions.metrics, goals.objectives, goals.constraints)


def _usual_folder(kind: str, plan: Sweep | Study) -> Path:
    """Where a run goes that was given no folder."""
    return Path("runs") / f"{kind}-{plan.conditions.task.name}-{time.strftime('%Y%m%d-%H%M%S')}"
