"""A sweep: each part of a network pruned by itself, and all together, every ratio a trial of a Study.

study = plan_of("examples/sweep_digits.yaml")
table = sweep(study, folder="runs/sweep")

Each is retrained and measured. Curves are fitted to the table (``raysearch.allocation.branches_of``), and a
budget is divided over them (``raysearch.allocation.allocate``). The run's journal, whose study has a key
``sweep``, holds everything: a sweep that was interrupted goes on.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.allocation.fitting import FEWEST_RATIOS
from raysearch.basics.failures import UserError
from raysearch.sweeps.parts import prunable_parts
from raysearch.sweeps.table import METRICS, table_of

if TYPE_CHECKING:
    import pandas as pd

    from raysearch.study import Study
    from raysearch.study_file.schema import StudyFile

RATIOS = tuple(i / 10 for i in range(10))


def sweep(
    study: Study,
    parts: Sequence[str] | None = None,
    ratios: Sequence[float] | None = None,
    *,
    multiple: int | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Prune at each ratio one part at a time, and all together; an unfinished sweep in the folder goes on.

    Args:
        study: of ``plan_of``, or any: its task, parent, targets, epochs, seed, resources and workers are
            taken, and its space, objectives and methods are not read.
        parts: layers, or what holds them ("stage1"); None: those of ``plan_of``, else each that channel
            pruning may prune.
        ratios: shares of a part's channels to remove, in [0, 1); with 0, which is always measured, four or
            more. None: those of ``plan_of``, else ``RATIOS``.
        multiple: kept channels are multiples of this; None: that of ``plan_of``, else what the targets like.
            Ratios that leave the same channels are one point.
        folder: of the run; ``runs/sweep-<task>-<time>`` if left out.
        progress: whether to show the live table.

    Returns:
        See ``raysearch.sweeps.table.table_of``.

    Raises:
        ValueError: a part that is unknown, lies inside another or has no channels of its own, a ratio
            outside [0, 1), or fewer different ratios than a curve needs.
    """
    plan = sweep_study(study, parts, ratios, multiple=multiple)
    path = Path(folder or Path("runs") / f"sweep-{study.task.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    result = plan.run(len(plan.evaluate_first), folder=path, progress=progress)
    return table_of(result.record)


def plan_of(file: StudyFile | str | Path) -> Study:
    """The sweep that a study file describes, as in ``sweep_study``; its space, goals and method are not read.

    Args:
        file: its path, or what ``raysearch.study_file.build.load`` read.

    Returns:
        What ``sweep`` and ``measure`` take as their study.

    Raises:
        MissingFile: there is no such file.
        ValueError: the task, the parent, a target or a part is wrong; one sentence says which and how.
    """
    from raysearch.study_file.build import build, load
    from raysearch.study_file.schema import Search, Space

    file = load(Path(file)) if isinstance(file, (str, Path)) else file
    search = Search(**{key: getattr(file.search, key) for key in ("epochs", "seed", "resources", "workers")})
    space = Space(pruning={"channel_pruning": {}})
    unread = {"space": space, "objectives": ["maximize accuracy"], "constraints": [], "search": search}
    study = build(file.model_copy(update=unread))
    return sweep_study(study, file.sweep.parts, file.sweep.ratios, multiple=file.sweep.multiple)


def sweep_study(
    study: Study,
    parts: Sequence[str] | None = None,
    ratios: Sequence[float] | None = None,
    *,
    multiple: int | None = None,
) -> Study:
    """The Study whose first trials, as many as its ``evaluate_first``, are the points of a sweep.

    Args and Raises are those of ``sweep``. Parts of so few channels that they have no curve are warned of.
    """
    own = study.sweep or {}
    parts = own.get("parts") if parts is None else parts
    ratios = own.get("ratios", RATIOS) if ratios is None else ratios
    multiple = own.get("multiple") if multiple is None else multiple
    _check_ratios(ratios)
    different = len({0.0, *ratios})
    if different < FEWEST_RATIOS:
        raise UserError(
            f"sweep.ratios is {list(ratios)}, {different} different ratios with 0, which is always measured: "
            f"a curve needs {FEWEST_RATIOS}"
        )
    names = prunable_parts(study, parts)
    whole = dict.fromkeys(names, 0.0)
    alone = [{**whole, name: float(r)} for name in names for r in ratios]
    points = [whole, *alone, *(dict.fromkeys(names, float(r)) for r in ratios)]
    plan = _plan(study, points, multiple)
    plan.sweep = {"parts": names, "ratios": [float(r) for r in ratios], "multiple": multiple}
    _check_points(plan, names, multiple or plan.space.multiple)
    return plan


def measure(
    study: Study,
    ratios: Mapping[str, float],
    *,
    multiple: int | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """The network with several parts pruned at once, retrained and measured like a point of a sweep.

    What an allocation predicts can be held against it. Ratios are rounded to the channels' multiple.

    Args:
        study: as for ``sweep``.
        ratios: the share of channels to remove from each part, in [0, 1).
        multiple: as for ``sweep``.
        folder: of the run; ``runs/pruned-<task>-<time>`` if left out.
        progress: whether to show the live table.

    Returns:
        ``accuracy``, ``size_mb`` and ``latency_ms`` (on the first target) of the whole network.

    Raises:
        ValueError: an unknown part, one without weights, or a ratio outside [0, 1).
        RuntimeError: the network could not be made, or was interrupted.
    """
    _check_ratios(list(ratios.values()))
    multiple = (study.sweep or {}).get("multiple") if multiple is None else multiple
    plan = _plan(study, [{n: float(ratios[n]) for n in prunable_parts(study, list(ratios))}], multiple)
    path = Path(folder or Path("runs") / f"pruned-{study.task.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    record = plan.run(1, folder=path, progress=progress).record
    trial = next(iter(record.searched()), None)
    if trial is None or trial.outcome != "finished":
        reason = trial.reason if trial and trial.reason else "it was interrupted: call again with this folder"
        raise RuntimeError(f"the pruned network in {path} is not complete: {reason}")
    latency = f"latency_ms/{plan.targets[0]}"
    return {m: trial.values[latency if m == "latency_ms" else m] for m in METRICS}


def _check_ratios(ratios: Sequence[float]) -> None:
    if not ratios or not all(0 <= r < 1 for r in ratios):
        raise UserError(f"sweep.ratios is {list(ratios)}: give one or more numbers in [0, 1)")


def _check_points(plan: Study, names: Sequence[str], multiple: int) -> None:
    """Refuse a sweep whose ratios keep the same channels so often that no part has a curve; warn of some.

    Raises:
        ValueError: none has.
    """
    pruned = [[n for n, r in c["pruning"]["ratios"].items() if r > 0] for c in plan.evaluate_first]
    counts = {name: 1 + pruned.count([name]) for name in names}
    few = {name: count for name, count in counts.items() if count < FEWEST_RATIOS}
    if not few:
        return
    told = ", ".join(f"{name} has {count}" for name, count in few.items())
    text = (
        f"sweep.ratios: as kept channels are multiples of {multiple} (sweep.multiple), different ratios are "
        f"few, and a curve needs {FEWEST_RATIOS}: {told}"
    )
    if len(few) == len(counts):
        raise UserError(text)
    warnings.warn(text, stacklevel=3)


def _plan(study: Study, points: Sequence[Mapping[str, float]], multiple: int | None) -> Study:
    """The Study whose ``evaluate_first`` are these points, each a ratio for every part, without repeats."""
    from ray import tune

    from raysearch.study import Study

    ratios = {n: tune.choice(sorted({0.0, *(p[n] for p in points)})) for n in points[0]}
    pruning: dict[str, Any] = {"ratios": ratios}
    if multiple is not None:
        pruning["multiple"] = multiple
    target = study.targets[0]
    plan = Study(
        study.task,
        {"pruning": pruning},
        ["maximize accuracy", "minimize size_mb", f"minimize latency_ms/{target}"],
        targets=study.targets,
        parent=study.parent,
        epochs=study.epochs,
        searcher="random",
        scheduler="full_training",
        seed=study.seed,
        resources=study.resources,
        workers=study.workers,
    )
    configs = [plan.space.completed({"pruning": {"ratios": p}}, plan.parent) for p in points]
    first_of_key: dict[str, Any] = {}
    for config in configs:
        first_of_key.setdefault(plan.space.variant(config).key, config)
    plan.evaluate_first = list(first_of_key.values())
    return plan
