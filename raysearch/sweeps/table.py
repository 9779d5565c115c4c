"""What a sweep measured: its tables, curves and page, all read from the run's journal.

They can be written again at any time, also while the sweep still runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from raysearch import storage
from raysearch.allocation.curves import Curve
from raysearch.allocation.fitting import FEWEST_RATIOS, fit
from raysearch.objectives import Objective
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.reporting import sweep_page
from raysearch.storage import Place
from raysearch.sweeps.left_out import left_out_of
from raysearch.sweeps.quality import column, quality_in, signed

TABLE, TOGETHER, CURVES = "sweep.csv", "sweep_together.csv", "sweep.json"
ALL = "all together"
_GRID = 21  # ratios at which a curve is written down
# Losses this near to the largest are alike: a network that only guesses differs by a few per cent.
_ALIKE = 0.9


def table_of(record: RunRecord) -> pd.DataFrame:
    """The points of a sweep at which one branch is pruned, as far as they are complete.

    Returns:
        A row a point: ``branch``, ``ratio`` (the share of channels that really went), ``accuracy`` (of the
        network with only this branch pruned; for another metric see ``raysearch.sweeps.quality``),
        ``size_mb`` and ``latency_ms`` (the branch's contribution), ``network_mb`` and ``network_ms`` (as
        measured, on the first target), ``trial`` and, where that was measured, ``left_out`` (what the
        parent's accuracy loses without the branch). Contributions sum to
        the whole network where none is pruned and wherever all were measured pruned alike. Unpruned, a
        branch's contribution is in proportion to the most that its pruning takes away: contributions are NaN
        until every branch has a point at which it is pruned.
    """
    names, latency = _names(record), f"latency_ms/{_target(record)}"
    rows = [
        {"branch": name, **_row(record, trial, _ratios(trial).get(name, 0.0))}
        for trial in _finished(record)
        for name in _pruned_alone(trial, names)
    ]
    table = pd.DataFrame(rows, columns=["branch", *_measured(record)])
    table["branch"] = pd.Categorical(table["branch"], names)
    table = table.sort_values(["branch", "ratio"]).reset_index(drop=True)
    table["branch"] = table["branch"].astype(str)
    for place, (own, network, metric) in enumerate(
        [("size_mb", "network_mb", "size_mb"), ("latency_ms", "network_ms", latency)]
    ):
        whole = record.parent.values.get(metric, math.nan) if record.parent else math.nan
        joint = [(_ratios(t), t.values[metric]) for t in _joint(record)]
        known = not _never_pruned(table, names)
        table.insert(3 + place, own, _contributions(table, network, whole, joint) if known else math.nan)
    lost = _lost(record)
    if lost:
        table["left_out"] = table["branch"].map(lost).astype(float)
    return table


def together_of(record: RunRecord) -> pd.DataFrame:
    """The points of a sweep at which all branches are pruned by the same asked ratio, as far as complete.

    Returns:
        A row a point, the unpruned network first: ``ratio``, ``accuracy``, ``network_mb``, ``network_ms`` and
        ``trial``; none where there is only one branch. A ratio is the mean over the branches of the shares of
        their channels that really went: a branch's own ratio is such a share, so that curves of both are
        looked up at the same ratio, and to first order rounding to whole channels cancels.
    """
    names = _names(record)
    whole = [t for t in _finished(record) if not _ratios(t) and len(names) > 1]
    rows = [_row(record, t, sum(_ratios(t).values()) / len(names)) for t in [*whole, *_joint(record)]]
    return pd.DataFrame(rows, columns=_measured(record)).sort_values("ratio").reset_index(drop=True)


def write_sweep(folder: Place) -> pd.DataFrame:
    """Write sweep.csv, sweep_together.csv, sweep.json (the fitted curves) and sweep.html into a run folder.

    Returns:
        See ``table_of``.
    """
    record = RunRecord.load(folder)
    table, together = table_of(record), together_of(record)
    quality = column(quality_in(record))
    curves, notes = fitted(table, [quality, "size_mb", "latency_ms"])
    joint, more = fitted(together.assign(branch=ALL), [quality], kind="spline")
    study = record.header["study"]
    left_out = _left_out(record)
    notes = [*_unfinished(table, _names(record)), *notes, *more, *_about_left_out(left_out)]
    document = {
        "task": study["task"],
        "target": record.targets[0],
        "epochs": study["search"]["epochs"],
        "branches": {n: {m: _written(c) for m, c in found.items()} for n, found in curves.items()},
        "together": {m: _written(c) for m, c in joint.get(ALL, {}).items()},
        "left_out": left_out,
        "notes": notes,
    }
    storage.write(folder / TABLE, table.to_csv(index=False))
    if not together.empty:
        storage.write(folder / TOGETHER, together.to_csv(index=False))
    storage.write(folder / CURVES, json.dumps(document, indent=1))
    page = sweep_page.render(record, quality, table, together, {**curves, **joint}, notes, left_out)
    storage.write(folder / sweep_page.FILE_NAME, page)
    return table


def fitted(
    table: pd.DataFrame, metrics: Sequence[str], *, kind: str = "auto"
) -> tuple[dict[str, dict[str, Curve]], list[str]]:
    """The curves of each branch that was measured at enough ratios, and why the others have none.

    Contributions that are not known yet have no curves.
    """
    curves, notes = {}, []
    for name, rows in table.groupby("branch", sort=False):
        count = rows["ratio"].nunique()
        if count < FEWEST_RATIOS:
            notes.append(f"{name} has {count} different ratios, and a curve needs {FEWEST_RATIOS}")
        else:
            try:
                known = [m for m in metrics if rows[m].notna().all()]
                curves[str(name)] = {m: fit(rows["ratio"], rows[m], kind=kind) for m in known}
            except ValueError as error:
                notes.append(f"{name} has no curve: {error}")
    return curves, notes


def _never_pruned(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The branches without a point at which they are pruned."""
    pruned = set(table["branch"][table["ratio"] > 0])
    return [name for name in names if name not in pruned]


def _unfinished(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """A note on what cannot be said yet."""
    if table.empty:
        return ["no point is complete yet"]
    never = _never_pruned(table, names)
    if not never:
        return []
    return [
        f"what each branch contributes to size and latency is left empty: no network with {', '.join(never)} "
        "pruned is measured yet"
    ]


def _about_left_out(left_out: Mapping[str, Any]) -> list[str]:
    """Notes on what leaving branches out does not tell."""
    if "reason" in left_out:
        return [left_out["reason"]]
    lost = [left_out["accuracy"] - without for without in left_out.get("without", {}).values()]
    if len(lost) < 2:
        return []
    if max(lost) <= 0:
        return ["left_out tells nothing: the network loses nothing to any branch that is left out"]
    if min(lost) < _ALIKE * max(lost):
        return []
    return [
        "left_out tells nothing: the network loses about as much to each branch that is left out, as it does "
        "where branches are layers in a row, each of them indispensable"
    ]


def _names(record: RunRecord) -> list[str]:
    return list(record.header["study"]["space"]["pruning"]["ratios"])


def _target(record: RunRecord) -> str:
    target = record.targets[0]
    return target


def _finished(record: RunRecord) -> Iterator[TrialRecord]:
    return (t for t in record.searched() if t.outcome == "finished")


def _joint(record: RunRecord) -> list[TrialRecord]:
    """The trials that prune several parts, the most pruned last."""
    joint = [t for t in _finished(record) if len(_ratios(t)) > 1]
    return sorted(joint, key=lambda t: sum(_ratios(t).values()))


def _pruned_alone(trial: TrialRecord, names: Sequence[str]) -> Sequence[str]:
    """The branches whose point a trial is: the one that is pruned, each where none is."""
    ratios = _ratios(trial)
    return (list(ratios) or names) if len(ratios) < 2 else ()


def _ratios(trial: TrialRecord) -> dict[str, float]:
    """The parts that a trial prunes."""
    ratios: dict[str, float] = trial.config.get("pruning", {}).get("ratios", {})
    return ratios


def figures_of(trial: TrialRecord, quality: Objective, target: str) -> dict[str, float]:
    """The quality, size and latency of a whole network, named as the columns of a table."""
    return {
        column(quality): signed(quality, trial.values[quality.metric]),
        "size_mb": trial.values["size_mb"],
        "latency_ms": trial.values[f"latency_ms/{target}"],
    }


def _measured(record: RunRecord) -> list[str]:
    return ["ratio", column(quality_in(record)), "network_mb", "network_ms", "trial"]


def _row(record: RunRecord, trial: TrialRecord, ratio: float) -> dict[str, Any]:
    figures = figures_of(trial, quality_in(record), _target(record)).values()
    return dict(zip(_measured(record), [ratio, *figures, trial.name], strict=True))


def _lost(record: RunRecord) -> dict[str, float]:
    """What the parent's accuracy loses without each part; empty where that was not measured."""
    found = _left_out(record)
    return {part: found["accuracy"] - without for part, without in found.get("without", {}).items()}


def _left_out(record: RunRecord) -> dict[str, Any]:
    """Of ``left_out_of``, with figures that are better where they are higher."""
    found, quality = left_out_of(record), quality_in(record)
    if "without" not in found:
        return found
    without = {part: signed(quality, figure) for part, figure in found["without"].items()}
    return {"accuracy": signed(quality, found["accuracy"]), "without": without}


def _contributions(
    table: pd.DataFrame, network: str, whole: float, joint: Sequence[tuple[Mapping[str, float], float]]
) -> pd.Series[float]:
    """What each branch adds to a figure of the unpruned network, less what its pruning takes away.

    Savings of branches pruned alone do not add up where branches share weights. What their sum is too much by
    with all pruned, branches give back in proportion to the most that each saves.

    Args:
        table: the points.
        network: the figure's column.
        whole: of the unpruned network.
        joint: ratios of several branches and the figure with all of them pruned, the most pruned last.
    """
    saved = whole - table[network]
    most = saved.groupby(table["branch"]).max().clip(lower=0)
    total = float(most.sum())
    share = most / total if total > 0 else most * 0 + 1 / max(1, len(most))
    points = list(zip(table["branch"], table["ratio"], strict=True))
    alone = dict(zip(points, saved, strict=True))
    excess: dict[str, dict[float, float]] = {name: {0.0: 0.0} for name in most.index}
    for ratios, figure in joint:
        if all(point in alone for point in ratios.items()):
            above = sum(alone[point] for point in ratios.items()) - (whole - figure)
            for name, ratio in ratios.items():
                excess[name][ratio] = above
    given_back = [
        np.interp(r, sorted(excess[n]), [excess[n][k] for k in sorted(excess[n])]) for n, r in points
    ]
    return table["branch"].map(share).astype(float) * (whole + np.array(given_back)) - saved


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
