"""How searches converge, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plotly.subplots import make_subplots

from raysearch.reporting.plots import BLUE, ORANGE, RED

Curve = Sequence[tuple[int, float]]


def convergence(searches: Mapping[str, Mapping[str, Curve]]) -> Any:
    """A figure of cost over evaluations: a line a search, a panel for each part that was searched alone.

    Args:
        searches: by name, and by part (a layer, say), (evaluations, cost).
    """
    parts = list(dict.fromkeys(part for curves in searches.values() for part in curves))
    figure = make_subplots(rows=1, cols=len(parts), subplot_titles=parts)
    colors = (BLUE, ORANGE, RED, "#2ca02c", "#9467bd", "#8c564b")
    for i, (name, curves) in enumerate(searches.items()):
        for j, (part, curve) in enumerate(curves.items()):
            figure.add_scatter(
                x=[evaluations for evaluations, _ in curve],
                y=[cost for _, cost in curve],
                name=name,
                legendgroup=name,
                showlegend=j == 0,
                mode="lines",
                line={"color": colors[i % len(colors)], "width": 2},
                row=1,
                col=parts.index(part) + 1,
            )
    figure.update_xaxes(title="evaluations")
    figure.update_yaxes(type="log")
    figure.update_yaxes(title="cost", col=1)
    figure.update_layout(template="plotly_white", height=380, legend={"orientation": "h", "y": -0.3})
    return figure
