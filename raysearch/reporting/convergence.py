"""How searches converge, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plotly.subplots import make_subplots

from raysearch.basics.failures import UserError
from raysearch.reporting.plots import BLUE, INK, LAYOUT, ORANGE, RED, log_axis

Curve = Sequence[tuple[int, float]]

_MOST_COLUMNS = 3  # panels beside each other; more cannot be read
_ROW_HEIGHT = 300
_COLORS = (BLUE, ORANGE, RED, "#2e7d4f", "#6b4fa0", "#8a6d1f", "#3a9aa8", "#c2528b", INK)
_DASHES = ("solid", "dash", "dot")  # where the colors repeat


def convergence(searches: Mapping[str, Mapping[str, Curve]]) -> Any:
    """A figure of cost over evaluations: a line a search, a panel for each part that was searched alone.

    Args:
        searches: by name, and by part (a layer, say), (evaluations, cost).

    Raises:
        ValueError: no curve.
    """
    if not any(searches.values()):
        raise UserError("there is no curve to plot: give one or more searches with their parts")
    parts = list(dict.fromkeys(part for curves in searches.values() for part in curves))
    rows = math.ceil(len(parts) / _MOST_COLUMNS)
    columns = math.ceil(len(parts) / rows)
    spacing = {"vertical_spacing": 0.25 / rows, "horizontal_spacing": 0.09}
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=parts, **spacing)
    for i, (name, curves) in enumerate(searches.items()):
        for j, (part, curve) in enumerate(curves.items()):
            row, column = divmod(parts.index(part), columns)
            figure.add_scatter(
                x=[evaluations for evaluations, _ in curve],
                y=[cost for _, cost in curve],
                name=name,
                legendgroup=name,
                showlegend=j == 0,
                mode="lines",
                line={"color": _COLORS[i % len(_COLORS)], "width": 1.5, "dash": _dash(i)},
                row=row + 1,
                col=column + 1,
            )
    for place, part in enumerate(parts):
        costs = [cost for curves in searches.values() for _, cost in curves.get(part, ()) if cost != 0]
        row, column = divmod(place, columns)
        figure.update_yaxes(**log_axis(costs), row=row + 1, col=column + 1)
        if place + columns >= len(parts):  # the last one of its column
            figure.update_xaxes(title="evaluations", row=row + 1, col=column + 1)
    figure.update_yaxes(title="cost", col=1)
    top = {"orientation": "h", "y": 1 + 60 / (rows * _ROW_HEIGHT), "yanchor": "bottom", "x": 0}
    figure.update_layout({**LAYOUT, "height": rows * _ROW_HEIGHT + 140, "legend": top})
    figure.update_layout(margin={"l": 70, "r": 20, "t": 90, "b": 50})
    return figure


def _dash(search: int) -> str:
    return _DASHES[search // len(_COLORS) % len(_DASHES)]
