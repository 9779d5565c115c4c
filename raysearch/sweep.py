"""A sweep: each part of a network pruned by itself, every ratio a trial of a Study, retrained, measured.

table = sweep(study, parts=["stage1", "stage2"], folder="runs/sweep")

Curves are fitted to the table (``raysearch.allocation.branches_of``), and a budget is divided over them
(``raysearch.allocation.allocate``). Everything here is read from the run's journal, whose study has a key
``sweep``: a sweep that was interrupted goes on, and its table can be written again at any time.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raysearch.allocation.curves import Curve
from raysearch.allocation.fitting import FEWEST_RATIOS, fit
from raysearch.journal import RunRecord, TrialRecord
from raysearch.spelling import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from raysearch.schema import StudyFile
    from raysearch.study import Study

RATIOS = tuple(i / 10 for i in range(10))
TABLE, CURVES, PAGE = "sweep.csv", "sweep.json", "sweep.html"
METRICS = ("accuracy", "size_mb", "latency_ms")
_GRID = 21  # ratios at which a curve is written down


def sweep(
    study: Study,
    parts: Sequence[str] | None = None,
    ratios: Sequence[float] = RATIOS,
    *,
    multiple: int | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Prune one part at a time, and all together; a folder that holds an unfinished sweep is gone on with.

    Args:
        study: its task, parent, targets, epochs, seed and resources are taken; its space is not searched.
        parts: layers, or what holds them ("stage1"); None: each that channel pruning may prune.
        ratios: shares of a part's channels to remove, in [0, 1).
        multiple: kept channels are multiples of this; None: what the targets like. Ratios that leave the
            same channels are one point.
        folder: of the run; ``runs/sweep-<task>-<time>`` if left out.
        progress: whether to show the live table.

    Returns:
        See ``table_of``.

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
    study = build(file.model_copy(update={"space": space, "constraints": [], "search": search}))
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
    whole, together = dict.fromkeys(names, 0.0), dict.fromkeys(names, float(max(ratios)))
    points = [whole, *({**whole, n: float(r)} for n in names for r in ratios), together]
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


def table_of(record: RunRecord) -> pd.DataFrame:
    """The points of a sweep that are complete.

    Returns:
        A row a point: ``branch``, ``ratio`` (the share of channels that really went), ``accuracy`` (of the
        network with only this branch pruned), ``size_mb`` and ``latency_ms`` (the branch's contribution),
        ``network_mb`` and ``network_ms`` (as measured, on the first target), ``trial`` and, where that was
        measured, ``left_out`` (what the parent's accuracy loses without the branch). Contributions sum to
        the whole network where none is pruned and where all are by the highest ratio: what the network
        loses to one branch counts by the share of the sum that is really lost when all are pruned. Unpruned,
        a branch's contribution is in proportion to the most that its pruning takes away.
    """
    study = record.header["study"]
    names = list(study["space"]["pruning"]["ratios"])
    latency = f"latency_ms/{study['targets'][0]}"
    rows = [row for t in record.searched() if t.outcome == "finished" for row in _rows(t, names, latency)]
    table = pd.DataFrame(rows, columns=["branch", "ratio", "accuracy", "network_mb", "network_ms", "trial"])
    table["branch"] = pd.Categorical(table["branch"], names)
    table = table.sort_values(["branch", "ratio"]).reset_index(drop=True)
    table["branch"] = table["branch"].astype(str)
    together = next((t for t in record.searched() if t.outcome == "finished" and _all(t, names)), None)
    for place, (own, network, metric) in enumerate(
        [("size_mb", "network_mb", "size_mb"), ("latency_ms", "network_ms", latency)]
    ):
        whole = record.parent.values.get(metric, math.nan) if record.parent else math.nan
        least = together.values[metric] if together else None
        table.insert(3 + place, own, _contributions(table, network, whole, least))
    lost = _lost(record)
    if lost:
        table["left_out"] = table["branch"].map(lost).astype(float)
    return table


def write_sweep(folder: Path) -> pd.DataFrame:
    """Write sweep.csv, sweep.json (the fitted curves) and sweep.html into a sweep's run folder."""
    from raysearch.reporting.sweep_page import render

    record = RunRecord.load(folder)
    table = table_of(record)
    curves, notes = fitted(table)
    study = record.header["study"]
    left_out = record.parent.left_out if record.parent else {}
    notes += [left_out["reason"]] if "reason" in left_out else []
    document = {
        "task": study["task"],
        "target": study["targets"][0],
        "epochs": study["search"]["epochs"],
        "branches": {n: {m: _written(c) for m, c in found.items()} for n, found in curves.items()},
        "left_out": left_out,
        "notes": notes,
    }
    table.to_csv(folder / TABLE, index=False)
    (folder / CURVES).write_text(json.dumps(document, indent=1), encoding="utf-8")
    (folder / PAGE).write_text(render(study, table, curves, notes, left_out), encoding="utf-8")
    return table


def fitted(table: pd.DataFrame) -> tuple[dict[str, dict[str, Curve]], list[str]]:
    """The curves of each branch that was measured at enough ratios, and why the others have none."""
    curves, notes = {}, []
    for name, rows in table.groupby("branch", sort=False):
        count = rows["ratio"].nunique()
        if count < FEWEST_RATIOS:
            notes.append(f"{name} has {count} different ratios, and a curve needs {FEWEST_RATIOS}")
        else:
            try:
                curves[str(name)] = {m: fit(rows["ratio"], rows[m]) for m in METRICS}
            except ValueError as error:
                notes.append(f"{name} has no curve: {error}")
    return curves, notes


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


def _ratios(trial: TrialRecord) -> dict[str, float]:
    """The parts that a trial prunes."""
    ratios: dict[str, float] = trial.config.get("pruning", {}).get("ratios", {})
    return ratios


def _lost(record: RunRecord) -> dict[str, float]:
    """What the parent's accuracy loses without each part; empty where that was not measured."""
    found = record.parent.left_out if record.parent else {}
    return {part: found["accuracy"] - without for part, without in found.get("without", {}).items()}


def _all(trial: TrialRecord, names: Sequence[str]) -> bool:
    """Whether a trial prunes all of several parts."""
    return len(_ratios(trial)) == len(names) > 1


def _rows(trial: TrialRecord, names: Sequence[str], latency: str) -> Iterator[dict[str, Any]]:
    """A point: a row for the one branch that is pruned, for each where none is, none where several are."""
    ratios = _ratios(trial)
    for name in (ratios or names) if len(ratios) < 2 else ():
        yield {
            "branch": name,
            "ratio": ratios.get(name, 0.0),
            "accuracy": trial.values["accuracy"],
            "network_mb": trial.values["size_mb"],
            "network_ms": trial.values[latency],
            "trial": trial.name,
        }


def _contributions(table: pd.DataFrame, network: str, whole: float, least: float | None) -> pd.Series[float]:
    """What each branch adds to a figure of the unpruned network, less what its pruning takes away.

    Args:
        table: the points.
        network: the figure's column.
        whole: of the unpruned network.
        least: where all branches are pruned by their highest ratio; None: as if savings added up.
    """
    saved = whole - table[network]
    most = saved.groupby(table["branch"]).max().clip(lower=0)
    total = float(most.sum())
    share = most / total if total > 0 else most * 0 + 1 / max(1, len(most))
    kept = 1.0 if least is None or total <= 0 else max(0.0, (whole - least) / total)
    return table["branch"].map(share).astype(float) * whole - kept * saved


def _written(curve: Curve) -> dict[str, Any]:
    """A curve as plain data, with the band where 95 % of new measurements are expected."""
    ratios = np.linspace(*curve.domain, _GRID)
    low, high = curve.band(ratios)
    return {
        "formula": str(curve),
        "error": curve.error,
        "ratios": ratios.tolist(),
        "values": curve(ratios).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }
