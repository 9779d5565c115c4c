"""A sweep: each part of a network pruned by itself, and all together, every ratio a trial of a Study.

table = sweep(study, parts=["stage1", "stage2"], folder="runs/sweep")

Each is retrained and measured. Curves are fitted to the table (``raysearch.allocation.branches_of``), and a
budget is divided over them (``raysearch.allocation.allocate``). The run's journal, whose study has a key
``sweep``, holds everything: a sweep that was interrupted goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.spelling import did_you_mean
from raysearch.sweep_table import METRICS, table_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from raysearch.schema import StudyFile
    from raysearch.study import Study

RATIOS = tuple(i / 10 for i in range(10))


def sweep(
    study: Study,
    parts: Sequence[str] | None = None,
    ratios: Sequence[float] = RATIOS,
    *,
    multiple: int | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Prune at each ratio one part at a time, and all together; an unfinished sweep in the folder goes on.

    Args:
        study: its task, parent, targets, epochs, seed and resources are taken; its space is not searched.
        parts: layers, or what holds them ("stage1"); None: each that channel pruning may prune.
        ratios: shares of a part's channels to remove, in [0, 1).
        multiple: kept channels are multiples of this; None: what the targets like. Ratios that leave the
            same channels are one point.
        folder: of the run; ``runs/sweep-<task>-<time>`` if left out.
        progress: whether to show the live table.

    Returns:
        See ``raysearch.sweep_table.table_of``.

    Raises:
        ValueError: an unknown part, one without weights, or a ratio outside [0, 1).
    """
    plan = sweep_study(study, parts, ratios, multiple=multiple)
    path = Path(folder or Path("runs") / f"sweep-{study.task.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    result = plan.run(len(plan.evaluate_first), folder=path, progress=progress)
    return table_of(result.record)


def plan_of(file: StudyFile) -> Study:
    """The sweep that a study file describes, as in ``sweep_study``; its space, goals and method are not read.

    Raises:
        ValueError: the task, the parent, a target or a part is wrong; one sentence says which and how.
    """
    from raysearch.config import build
    from raysearch.schema import Search, Space

    search = Search(**{key: getattr(file.search, key) for key in ("epochs", "seed", "resources", "workers")})
    space = Space(pruning={"channel_pruning": {}})
    unread = {"space": space, "objectives": ["maximize accuracy"], "constraints": [], "search": search}
    study = build(file.model_copy(update=unread))
    return sweep_study(study, file.sweep.parts, file.sweep.ratios, multiple=file.sweep.multiple)


def sweep_study(
    study: Study,
    parts: Sequence[str] | None = None,
    ratios: Sequence[float] = RATIOS,
    *,
    multiple: int | None = None,
) -> Study:
    """The Study whose first trials, as many as its ``evaluate_first``, are the points of a sweep."""
    _check_ratios(ratios)
    names = _parts(study, parts)
    whole = dict.fromkeys(names, 0.0)
    alone = [{**whole, name: float(r)} for name in names for r in ratios]
    points = [whole, *alone, *(dict.fromkeys(names, float(r)) for r in ratios)]
    plan = _plan(study, points, multiple)
    plan.sweep = {"parts": names, "ratios": [float(r) for r in ratios], "multiple": multiple}
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
    plan = _plan(study, [{n: float(ratios[n]) for n in _parts(study, list(ratios))}], multiple)
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
        raise ValueError(f"sweep.ratios is {list(ratios)}: give one or more numbers in [0, 1)")


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
    first_of_key = {plan.space.key(c): c for c in reversed(configs)}
    plan.evaluate_first = [c for c in configs if first_of_key[plan.space.key(c)] is c]
    return plan


def _parts(study: Study, parts: Sequence[str] | None) -> list[str]:
    """The parts to prune, each holding a group of layers whose channels can go.

    Raises:
        ValueError: a part that does not.
    """
    from raysearch.search_spaces.keys import belongs
    from raysearch.search_spaces.layers import prunable_groups
    from raysearch.search_spaces.resnet import decode_architecture

    architecture = study.parent.get("architecture")
    model = study.task.build(decode_architecture(architecture) if architecture else None)
    groups = prunable_groups(model, study.task.example_input(2))
    if parts is None:
        return list(groups)
    if isinstance(parts, str) or not parts:
        raise ValueError(f"sweep.parts is {parts!r}: give a list with at least one layer's name")
    for part in parts:
        if not any(belongs(layer, part) for layer in groups):
            raise ValueError(_reason(model, part, list(groups)))
    return list(dict.fromkeys(parts))


def _reason(model: nn.Module, part: str, groups: list[str]) -> str:
    """Why a part cannot be pruned."""
    modules = dict(model.named_modules())
    if part not in modules:
        known = [*groups, *(name for name, _ in model.named_children())]
        return f"sweep.parts names {part!r}, which the model does not have; {did_you_mean(part, known)}"
    if next(modules[part].parameters(), None) is None:
        kind = type(modules[part]).__name__
        return f"sweep.parts names {part!r}, a {kind} without weights: name layers such as {groups[0]!r}"
    return (
        f"sweep.parts names {part!r}, which has no channels of its own that can go: they belong to the "
        f"output or to an earlier layer that it is added to (known: {', '.join(groups)})"
    )
