"""The plots of a run, as plotly figures: the front, hypervolume, parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import combinations, cycle
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.metrics import PER_TARGET, SHARE, TEST, reported
from raysearch.record.predictions import Predicted
from raysearch.record.results import SECTIONS, RunResult
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.scores import is_complete, violation_of
from raysearch.reporting.figures import metric_value, number

#: More axes than this cannot be read.
MOST_SETTINGS = 10
BLUE, FADED, GREY, RED, ORANGE, INK = "#1f5fa8", "#9dbbdc", "#d3d3d3", "#b3261e", "#d9822b", "#22262a"
HEIGHT = 420

LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "font": {"family": "system-ui, -apple-system, Segoe UI, sans-serif", "size": 13, "color": INK},
    "margin": {"l": 70, "r": 20, "t": 50, "b": 60},
    "height": HEIGHT,
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    "hoverlabel": {"align": "left"},
}


def front(result: RunResult, x: str, y: str) -> go.Figure:
    """All complete trials over two metrics.

    The front is blue, its non-dominated line through the pair of metrics drawn; dominated trials are faded,
    infeasible ones grey; the parent is a star, its static int8 form a diamond.

    Args:
        result: the run.
        x: the metric of the horizontal axis.
        y: the metric of the vertical axis.

    Raises:
        ValueError: a metric that no trial reports.
    """
    known = reported(dict.fromkeys(result.record.targets, PER_TARGET), result.record.metrics, exits=True)
    for metric in (x, y):
        if metric not in known:
            raise UserError(f"no trial reports {metric!r}; {did_you_mean(metric, known)}")
    groups = _groups(result)
    figure = go.Figure(layout=LAYOUT)
    points = partial(_points, result.record, x, y)
    figure.add_trace(points(groups["infeasible"], "infeasible", {"color": GREY, "size": 7}))
    figure.add_trace(points(groups["dominated"], "dominated", {"color": FADED, "size": 7}))
    figure.add_trace(_staircase(result, x, y))
    marker = {"color": BLUE, "size": 10, "line": {"color": "white", "width": 1}}
    figure.add_trace(points(groups["front"], "front", marker))
    references = (("parent", "star", RED, 16), ("parent-int8", "diamond", ORANGE, 12))
    for name, symbol, color, size in references:
        if name in result.record.trials:
            named = "parent" if name == "parent" else "parent, static int8"
            marker = {"symbol": symbol, "color": color, "size": size, "line": {"color": "white", "width": 1}}
            figure.add_trace(points([result.record.trials[name]], named, marker))
    figure.update_xaxes(title=result.record.metric(x).title, **_axis(result, x))
    figure.update_yaxes(title=result.record.metric(y).title, **_axis(result, y))
    return figure


def front_pairs(result: RunResult) -> list[go.Figure]:
    """The front over every pair of objectives; with a single objective, over it and the size.

    Where that objective is the size, it is drawn beside the task's first metric.
    """
    metrics = result.goals.metrics
    if len(metrics) == 1:
        other = "size_mb" if metrics[0] != "size_mb" else next(iter(result.record.metrics))
        return [front(result, other, metrics[0])]
    return [front(result, x, y) for y, x in combinations(metrics, 2)]


def hypervolume(result: RunResult) -> go.Figure:
    """The hypervolume over the trials that ended, and, on its own axis above, over the time worked."""
    history = result.hypervolume()
    figure = go.Figure(layout={**LAYOUT, "height": 340, "margin": {"l": 70, "r": 20, "t": 20, "b": 60}})
    over = (("trials", "x", "trials ended", BLUE), ("minutes", "x2", "minutes of work", ORANGE))
    history["minutes"] = history["seconds"] / 60
    for column, axis, name, color in over:
        figure.add_trace(
            go.Scatter(
                x=history[column], y=history["hypervolume"], xaxis=axis, name=f"over {name}", mode="lines",
                line={"color": color, "shape": "hv", "width": 2},
            )
        )  # fmt: skip
    figure.update_layout(
        xaxis={"title": "trials ended", "domain": [0, 0.46]},
        xaxis2={"title": "minutes of work", "domain": [0.54, 1], "anchor": "y"},
        yaxis={"title": "hypervolume", "rangemode": "tozero"},
        showlegend=False,
    )
    return figure


def predicted_against_measured(found: Iterable[Predicted]) -> go.Figure:
    """Latencies that were predicted, with their intervals, over what was measured later."""
    figure = go.Figure(layout={**LAYOUT, "height": 340, "margin": {"l": 70, "r": 20, "t": 40, "b": 60}})
    known = [(p, p.measured) for p in found if p.measured is not None]
    ends = [f([min(m, p.low) if f is min else max(m, p.high) for p, m in known]) for f in (min, max)]
    line = {"color": GREY, "width": 1}
    figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    for target, colour in zip(dict.fromkeys(p.target for p, _ in known), cycle((BLUE, ORANGE, RED, INK))):
        own = [(p, m) for p, m in known if p.target == target]
        reach = {
            "array": [p.high - p.latency for p, _ in own],
            "arrayminus": [p.latency - p.low for p, _ in own],
        }
        figure.add_trace(
            go.Scatter(
                x=[m for _, m in own], y=[p.latency for p, _ in own], text=[p.trial for p, _ in own],
                name=target, mode="markers", marker={"color": colour, "size": 7},
                error_y={"type": "data", "thickness": 1, "width": 0, **reach},
            )
        )  # fmt: skip
    figure.update_xaxes(title="measured later, ms", type="log")
    figure.update_yaxes(title="predicted, ms", type="log")
    return figure


def parallel_coordinates(result: RunResult) -> go.Figure:
    """Every complete, feasible trial as a line over its settings and the objectives.

    Of many settings, those that go most with the objectives (rank correlation) are shown.
    """
    figure = go.Figure(layout={**LAYOUT, "margin": {"l": 60, "r": 60, "t": 140, "b": 30}, "height": 460})
    frame = result.trials
    if frame.empty:
        return figure
    frame = frame[frame["complete"] & frame["feasible"] & (frame["role"] == "trial")]
    metrics = [m for m in result.goals.metrics if m in frame]
    settings = [c for c in frame.columns if c.split("/")[0] in SECTIONS and frame[c].nunique() > 1]
    codes = {c: _codes(frame[c]) for c in settings}
    strength = {c: _strength(codes[c], frame[metrics]) for c in settings}
    chosen = sorted(sorted(settings, key=lambda c: -strength[c])[:MOST_SETTINGS], key=settings.index)
    dimensions = [_dimension(c, frame[c], codes[c]) for c in chosen]
    dimensions += [{"label": result.record.metric(m).title, "values": frame[m].tolist()} for m in metrics]
    if len(frame):
        line = {
            "color": frame[metrics[0]].tolist(),
            "colorscale": [[0, "#dfe7f0"], [1, BLUE]],
            "reversescale": not result.goals.objectives[0].maximize,
        }
        fonts = {"labelfont": {"size": 11}, "tickfont": {"size": 10}}
        figure.add_trace(go.Parcoords(dimensions=dimensions, line=line, labelangle=-30, **fonts))
    return figure


def _codes(column: pd.Series[Any]) -> pd.Series[float]:
    """A setting as numbers: itself, or the place of its word in the alphabet; absent is lowest."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.fillna(column.min()).astype(float)
    return column.astype(str).astype("category").cat.codes.astype(float)


def _strength(codes: pd.Series[float], metrics: pd.DataFrame) -> float:
    """The strongest rank correlation of a setting with any of the metrics, in [0, 1]."""
    ranked = codes.rank()
    found = [abs(ranked.corr(metrics[m].rank())) for m in metrics]
    return max((f for f in found if not math.isnan(f)), default=0.0)


def _dimension(name: str, column: pd.Series[Any], codes: pd.Series[float]) -> dict[str, Any]:
    axis: dict[str, Any] = {"label": name, "values": codes.tolist()}
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        pairs = sorted(set(zip(codes, column.astype(str), strict=True)))
        axis |= {"tickvals": [code for code, _ in pairs], "ticktext": [word for _, word in pairs]}
    elif column.nunique() <= 6:
        ticks = sorted(codes.unique())
        axis |= {"tickvals": ticks, "ticktext": [number(tick) for tick in ticks]}
    return axis


def _groups(result: RunResult) -> dict[str, list[TrialRecord]]:
    """The complete searched trials: on the front, dominated, infeasible."""
    names = {t.name for t in result.front_records}
    groups: dict[str, list[TrialRecord]] = {"front": [], "dominated": [], "infeasible": []}
    for trial in result.record.searched():
        if is_complete(trial, result.goals):
            infeasible = violation_of(result.record, trial) > 0
            group = "front" if trial.name in names else "infeasible" if infeasible else "dominated"
            groups[group].append(trial)
    return groups


def _points(
    record: RunRecord, x: str, y: str, trials: Iterable[TrialRecord], name: str, marker: dict[str, Any]
) -> go.Scatter:
    shown = [t for t in trials if x in t.values and y in t.values]
    return go.Scatter(
        x=[t.values[x] for t in shown],
        y=[t.values[y] for t in shown],
        text=[_hover(record, t, (y, x)) for t in shown],
        name=name,
        mode="markers",
        marker=marker,
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(record: RunRecord, trial: TrialRecord, keys: Iterable[str]) -> str:
    tested = [f"{TEST}{name}" for name in record.metrics]
    shown = map(record.metric, (key for key in (*keys, *tested) if key in trial.values))
    lines = [f"<b>{trial.name}</b> {trial.origin}"]
    lines += [f"{m.title}: {metric_value(m, trial.values[m.name])}" for m in shown]
    return "<br>".join(lines)


def _staircase(result: RunResult, x: str, y: str) -> go.Scatter:
    """The line through what is non-dominated in this pair of metrics alone, among the front.

    It has no points where nothing says which way a metric is better.
    """
    higher = [result.goals.higher_is_better(metric) for metric in (x, y)]
    signs = [-1 if more else 1 for more in higher]
    points = sorted(
        (signs[0] * t.values[x], signs[1] * t.values[y])
        for t in result.front_records
        if x in t.values and y in t.values and None not in higher
    )
    steps: list[tuple[float, float]] = []
    for point in points:
        if not steps or point[1] < steps[-1][1]:
            steps.append(point)
    return go.Scatter(
        x=[signs[0] * p[0] for p in steps],
        y=[signs[1] * p[1] for p in steps],
        mode="lines",
        line={"color": BLUE, "width": 1.2, "shape": "hv"},
        showlegend=False,
        hoverinfo="skip",
    )


def _axis(result: RunResult, key: str) -> dict[str, Any]:
    """Task's metrics over the front's range, others on a logarithmic scale: compression is of factors."""
    metric, trials = result.record.metric(key), result.record.trials.values()
    if metric.source != "the task":
        ended = [t for t in trials if is_complete(t, result.goals)]
        values = [t.values[key] for t in ended if math.isfinite(t.values.get(key, math.nan))]
        return log_axis(values)
    shown = [*result.front_records, *(t for t in trials if t.role == "reference")]
    values = [t.values[key] for t in shown if math.isfinite(t.values.get(key, math.nan))]
    in_percent = metric.unit == SHARE and all(0 <= value <= 1 for value in values)
    axis: dict[str, Any] = {"tickformat": ".1%"} if in_percent else {}
    if values:
        axis["range"] = _near(values, 0.01 if in_percent else 0.0, result.goals.higher_is_better(key))
    return axis


def _near(values: Sequence[float], least: float, higher_is_better: bool | None) -> list[float]:
    """The range of some values with room at both ends, the more at the worse one.

    Far beyond the front stand only infeasible trials; a double click brings them into view.
    """
    low, high = min(values), max(values)
    margin = max(least, 0.5 * (high - low)) or 0.05 * abs(high) or 1.0
    below, above = (margin, margin / 3) if higher_is_better else (margin / 3, margin)
    return [low - below, high + above]


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis with ticks 0.05, 0.1, 0.2 (plotly's: 5, 0.1, 2); a plain one unless all are > 0."""
    if not values:
        return {"type": "log"}
    if min(values) <= 0:
        return {}
    low, high = math.log10(min(values)) - 0.08, math.log10(max(values)) + 0.08
    decades = range(math.floor(low), math.ceil(high) + 1)
    span = high - low
    steps: tuple[float, ...] = (1, 2, 5) if span < 3 else (1,)
    if span < 0.8:
        steps = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if span < 0.5 else (1, 1.5, 2, 3, 5, 7)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return {
        "type": "log",
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": [number(tick) for tick in ticks],
    }
