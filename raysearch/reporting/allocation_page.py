"""A divided pruning budget as plain data, and as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raysearch.allocation.allocate import Allocation, describe
from raysearch.metrics import find
from raysearch.reporting import allocation_plots
from raysearch.reporting.figures import UNKNOWN, metric_value, number
from raysearch.reporting.page import document, drawn, section, table, tile, tiles

if TYPE_CHECKING:
    from raysearch.allocation.curves import Curve, Floats
    from raysearch.allocation.problem import Problem

HEADS = {
    "branch": "branch",
    "importance": "importance",
    "ratio": "ratio",
    "size_mb": "size, MB",
    "cap_mb": "cap, MB",
    "latency_ms": "latency, ms",
}
_MOST_CURVES = 8  # on one plot
_RATIO_DIGITS = 6


def branch_table(problem: Problem, ratios: Floats) -> pd.DataFrame:
    """A row a branch: importance, ratio, accuracy, size, cap and latency at ratios of shape (n,)."""
    columns: dict[str, Any] = {
        "branch": problem.names,
        "importance": problem.importances,
        "ratio": ratios,
        "accuracy": problem.accuracies(ratios),
        "size_mb": problem.sizes(ratios),
    }
    if np.isfinite(problem.caps).any():
        columns["cap_mb"] = problem.caps
    if problem.timed:
        columns["latency_ms"] = problem.times(ratios)
    return pd.DataFrame(columns)


def figures_of(problem: Problem, ratios: Floats) -> dict[str, Any]:
    """The totals at ratios of shape (n,): accuracy, size and, where times are known, the latency."""
    row = describe(problem, ratios[None]).iloc[0]
    return {str(key): value for key, value in row.items() if not str(key).startswith("ratio/")}


def as_data(allocation: Allocation, notes: Sequence[str]) -> dict[str, Any]:
    """What ``raysearch allocate --json`` prints: the best point and the front, or what is in the way."""
    problem = allocation.problem
    ratios = best_ratios(allocation)
    data: dict[str, Any] = {
        "feasible": allocation.feasible,
        "notes": list(notes),
        "accuracy_error": problem.accuracy_error,
        "best" if allocation.feasible else "closest": _division(problem, ratios),
    }
    if allocation.feasible:
        smallest = _division(problem, smallest_ratios(allocation))
        return {**data, "smallest": smallest, "front": allocation.front.to_dict("records")}
    relaxations = [
        {
            "way": r.way,
            "text": r.text,
            "floor": r.floor,
            "floor_drop": r.floor_drop,
            "caps_factor": r.caps_factor,
        }
        for r in allocation.relaxations
    ]
    return {**data, "conflict": list(allocation.conflict), "relaxations": relaxations}


def best_ratios(allocation: Allocation) -> Floats:
    """The most accurate division within the caps, shape (n,)."""
    return allocation.ratios[0] if allocation.feasible else allocation.closest


def smallest_ratios(allocation: Allocation) -> Floats:
    """The smallest division of a front within the limits, shape (n,)."""
    return np.asarray(allocation.ratios[int(allocation.front["size_mb"].argmin())])


def _division(problem: Problem, ratios: Floats) -> dict[str, Any]:
    return {**figures_of(problem, ratios), "branches": branch_table(problem, ratios).to_dict("records")}


def heads(problem: Problem) -> list[str]:
    """The heads of ``branch_table``'s columns."""
    columns = branch_table(problem, problem.unpruned).columns
    return [problem.metric if c == "accuracy" else HEADS[c] for c in columns]


def cells(problem: Problem, row: Mapping[Any, Any]) -> list[str]:
    """A row of ``branch_table`` as short text."""
    names = {"accuracy": problem.metric}
    return [v if isinstance(v, str) else _cell(names.get(c, c), float(v)) for c, v in row.items()]


def _cell(column: str, value: float) -> str:
    if column == "ratio":
        value = round(value, _RATIO_DIGITS)  # 1e-8 of a branch is none of it
    if value == 0:
        return "0"  # in whatever unit accuracies are
    return metric_value(find(column), value) if np.isfinite(value) else UNKNOWN


def render(title: str, allocation: Allocation, notes: Sequence[str], source: str) -> str:
    """The page as one HTML document.

    Args:
        title: what was divided.
        allocation: the answer.
        notes: remarks on the input.
        source: the allocation file's text.
    """
    problem, ratios = allocation.problem, best_ratios(allocation)
    if allocation.feasible:
        said = "The most accurate division within the limits; the front below trades accuracy for size."
    else:
        said = f"These limits cannot all be kept: {'; '.join(allocation.conflict)}."
    remarks = "".join(f"<p>{escape(text)}</p>" for text in (said, *notes))
    repairs = "".join(f"<li>{escape(r.text)}</li>" for r in allocation.relaxations)
    parts = [
        f"<header><h1>raysearch <span>{escape(title)}</span></h1>{remarks}</header>",
        tiles(_tiles(allocation, ratios)),
        section("The smallest relaxations", f"<ul>{repairs}</ul>") if repairs else "",
        section("The front", drawn([allocation_plots.front(allocation)])) if allocation.feasible else "",
        _branches(
            "The most accurate division" if allocation.feasible else "Closest to the floor within the caps",
            problem,
            ratios,
        ),
        _branches("The smallest division", problem, smallest_ratios(allocation))
        if allocation.feasible
        else "",
        section("Curves", *_curves(problem)),
        section("The file", f"<pre>{escape(source)}</pre>"),
    ]
    return document(title, "".join(parts))


def _branches(title: str, problem: Problem, ratios: Floats) -> str:
    rows = branch_table(problem, ratios)
    shown = [("", [escape(cell) for cell in cells(problem, row)]) for row in rows.to_dict("records")]
    plots = [allocation_plots.branches(problem, ratios)]
    if np.ptp(problem.importances) > 0:
        plots.append(allocation_plots.against_importance(problem, {"ratios": ratios}))
    return section(title, table(map(escape, heads(problem)), shown), *(drawn([plot]) for plot in plots))


def _tiles(allocation: Allocation, ratios: Floats) -> list[str]:
    problem, metric = allocation.problem, find(allocation.problem.metric)
    figures = figures_of(problem, ratios)
    floor = f"floor {metric_value(metric, problem.floor)}" if np.isfinite(problem.floor) else ""
    unpruned = float(problem.total_size(problem.unpruned))
    shown = [
        tile(metric_value(metric, figures["accuracy"]), f"weighted {problem.metric}", floor),
        tile(number(figures["size_mb"]), "MB in all", f"unpruned {number(unpruned)}"),
    ]
    if allocation.feasible:
        smallest = allocation.front.iloc[int(allocation.front["size_mb"].argmin())]
        note = f"at {metric_value(metric, smallest['accuracy'])}"
        shown.append(tile(number(smallest["size_mb"]), "MB, the smallest of the front", note))
    if problem.timed:
        slowest = f"branch {figures['bottleneck']} takes {number(figures['bottleneck_ms'])} ms"
        shown.append(tile(number(figures["latency_ms"]), f"ms, branches {problem.latency}", slowest))
        shown.append(tile(number(figures["mean_ms"]), "ms, the mean branch", ""))
    return shown


def _curves(problem: Problem) -> list[str]:
    """A plot for each kind of curve; branches that share one are drawn once.

    Plots of one curve stand beside each other, others with their many names below each other.
    """
    figures, most = [], 0
    scaled = any(b.time_scale != 1 for b in problem.branches)
    time = "time, ms (before its scale)" if scaled else "time, ms"
    for kind, axis in (("accuracy", problem.metric), ("size", "size, MB"), ("time", time)):
        shown: dict[int, tuple[str, Curve]] = {}
        for branch in problem.branches:
            curve = getattr(branch, kind)
            if curve is not None:
                shown.setdefault(id(curve), (branch.name, curve))
        most = max(most, len(shown))
        if len(shown) == 1:
            shown = {key: ("all branches", curve) for key, (_, curve) in shown.items()}
        if shown:
            figures.append(allocation_plots.curves(dict(list(shown.values())[:_MOST_CURVES]), label=axis))
    if most <= 1:
        return [drawn(figures)]
    note = f"<p>The first {_MOST_CURVES} of {most} branches.</p>" if most > _MOST_CURVES else ""
    return [note, *(drawn([figure]) for figure in figures)]
