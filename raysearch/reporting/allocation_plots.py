"""The plots of an allocation, as plotly figures: curves, ratios by branch and by importance, the front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from raysearch.allocation.curves import Curve, Floats
from raysearch.allocation.problem import Problem
from raysearch.reporting.plots import BLUE, FADED, GREY, HEIGHT, INK, LAYOUT, ORANGE, RED

if TYPE_CHECKING:
    from raysearch.allocation.allocate import Allocation

COLOURS = (BLUE, ORANGE, "#2e7d4f", RED, "#6b4fa0", "#8a6d1f", "#3a9aa8", INK)
_POINTS = 201
_MOST_ABOVE = 4  # names above a plot; more stand beside it


def curves(given: Mapping[str, Curve], *, label: str) -> go.Figure:
    """Curves over the ratio, with their measurements and the band where 95 % of new ones are expected.

    Args:
        given: curves by name.
        label: of the vertical axis, such as "accuracy, %".
    """
    figure = go.Figure(layout=LAYOUT)
    for i, (name, curve) in enumerate(given.items()):
        colour = COLOURS[i % len(COLOURS)]
        p = np.linspace(*curve.domain, _POINTS)
        if curve.error > 0:
            lower, upper = curve.band(p)
            figure.add_trace(
                go.Scatter(
                    x=np.concatenate([p, p[::-1]]), y=np.concatenate([upper, lower[::-1]]), fill="toself",
                    fillcolor=colour, opacity=0.15, line={"width": 0}, legendgroup=name, showlegend=False,
                    hoverinfo="skip", mode="lines",
                )
            )  # fmt: skip
        line = {"color": colour, "width": 2}
        figure.add_trace(go.Scatter(x=p, y=curve(p), name=name, line=line, legendgroup=name, mode="lines"))
        if curve.measured is not None:
            marker = {"color": colour, "size": 6}
            figure.add_trace(_dots(curve.measured[0], curve.measured[1], name, marker))
    figure.update_xaxes(title="pruning ratio")
    figure.update_yaxes(title=label)
    if len(given) > _MOST_ABOVE:
        figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"})
    return figure


def branches(problem: Problem, ratios: Floats, *, accuracy_label: str = "") -> go.Figure:
    """Each branch's ratio, and below it its accuracy, as bars, with its importance on a second axis.

    Args:
        problem: the branches.
        ratios: a ratio of each, shape (n,).
        accuracy_label: of the accuracy's axis, such as "accuracy, %"; the problem's metric if left out.
    """
    figure = go.Figure(layout={**LAYOUT, "height": 1.4 * HEIGHT, "margin": {**LAYOUT["margin"], "r": 80}})
    rows = ((ratios, "ratio", BLUE, "y"), (problem.accuracies(ratios), problem.metric, FADED, "y3"))
    for values, name, colour, axis in rows:
        figure.add_trace(go.Bar(x=problem.names, y=values, name=name, marker={"color": colour}, yaxis=axis))
        figure.add_trace(
            go.Scatter(
                x=problem.names, y=problem.importances, name="importance", mode="lines+markers",
                line={"color": ORANGE, "width": 1.5}, marker={"size": 7}, yaxis="y2" if axis == "y" else "y4",
                showlegend=axis == "y",
            )
        )  # fmt: skip
    # Left to itself a second axis takes its ticks from the gridlines of the first.
    range_ = [0, 1.08 * float(problem.importances.max())]
    second = {
        "title": "importance",
        "side": "right",
        "range": range_,
        "tickmode": "auto",
        "nticks": 6,
        "showgrid": False,
    }
    figure.update_layout(
        xaxis={"title": "branch", "type": "category", "anchor": "y3"},
        yaxis={"title": "pruning ratio", "domain": [0.55, 1], "range": [0, 1]},
        yaxis2={**second, "overlaying": "y"},
        yaxis3={
            "title": accuracy_label or problem.metric,
            "domain": [0, 0.45],
            "anchor": "x",
            "rangemode": "tozero",
        },
        yaxis4={**second, "overlaying": "y3", "anchor": "x"},
    )
    return figure


def against_importance(problem: Problem, divisions: Mapping[str, Floats]) -> go.Figure:
    """Ratio against importance with the trend (least squares) and the correlation, a colour a division.

    Args:
        problem: the branches.
        divisions: ratios of shape (n,) by name.
    """
    figure = go.Figure(layout=LAYOUT)
    x = problem.importances
    for i, (name, ratios) in enumerate(divisions.items()):
        colour = COLOURS[i % len(COLOURS)]
        varies = np.ptp(x) > 0 and np.ptp(ratios) > 0
        text = f"{name} (correlation {np.corrcoef(x, ratios)[0, 1]:.2f})" if varies else name
        dots = _dots(x, ratios, text, {"color": colour, "size": 9})
        figure.add_trace(dots.update(showlegend=True, text=problem.names))
        if varies:
            ends = np.array([x.min(), x.max()])
            slope, start = np.polyfit(x, ratios, 1)
            line = {"color": colour, "width": 1.5, "dash": "dash"}
            figure.add_trace(
                go.Scatter(x=ends, y=start + slope * ends, mode="lines", line=line, showlegend=False)
            )
    figure.update_xaxes(title="importance")
    figure.update_yaxes(title="pruning ratio", rangemode="tozero")
    return figure


def front(allocation: Allocation, others: Mapping[str, Floats] | None = None) -> go.Figure:
    """Weighted accuracy against total size: the front, the floor, and other divisions to compare with.

    A front traced at several latencies is coloured by them. A floor far below the front is not drawn.

    Args:
        allocation: a feasible allocation.
        others: ratios of shape (k, n) or (n,) by name; what breaks a limit is drawn as a cross.
    """
    figure = go.Figure(layout=LAYOUT)
    table, problem = allocation.front, allocation.problem
    shaded = "latency_ms" in table and table["size_mb"].diff().gt(0).any()
    marker: dict[str, Any] = {"size": 5, "color": BLUE}
    if shaded:
        bar = {"title": {"text": "latency, ms"}}
        marker |= {"color": table["latency_ms"], "colorscale": "Viridis", "showscale": True, "colorbar": bar}
    line = {"color": BLUE, "width": 1.5}
    figure.add_trace(
        go.Scatter(
            x=table["size_mb"], y=table["accuracy"], name="front", mode="markers" if shaded else
            "lines+markers", marker=marker, line=line,
        )
    )  # fmt: skip
    for i, (name, ratios) in enumerate((others or {}).items()):
        points = np.atleast_2d(ratios)
        symbols = np.where(problem.violation(points) > 0, "x", "circle").tolist()
        marker = {"color": COLOURS[1 + i % (len(COLOURS) - 1)], "size": 9, "symbol": symbols}
        dots = _dots(problem.total_size(points), problem.weighted_accuracy(points), name, marker)
        figure.add_trace(dots.update(showlegend=True))
    lowest, highest = table["accuracy"].min(), table["accuracy"].max()
    if problem.floor >= lowest - (highest - lowest):  # one far below would press the front flat
        line = {"color": GREY, "dash": "dot"}
        figure.add_hline(y=problem.floor, line=line, annotation={"text": "floor", "x": 1, "xanchor": "right"})
    figure.update_xaxes(title="total size, MB")
    figure.update_yaxes(title=f"weighted {problem.metric}")
    return figure


def _dots(x: Floats, y: Floats, name: str, marker: dict[str, Any]) -> go.Scatter:
    return go.Scatter(x=x, y=y, name=name, mode="markers", marker=marker, legendgroup=name, showlegend=False)
