"""Targets side by side: the front of each, which variant to ship where, and what another's choice costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from raysearch.metrics import SHARE
from raysearch.record.choices import choices, close_to_parent, front_of, losses, stands_in
from raysearch.record.results import RunResult
from raysearch.record.run_record import TrialRecord
from raysearch.record.scores import is_complete, violation_of
from raysearch.reporting.figures import UNKNOWN, metric_value
from raysearch.reporting.page import drawn, section, table
from raysearch.reporting.plots import BLUE, INK, LAYOUT, ORANGE, RED

_COLOURS = (BLUE, ORANGE, "#2e7d32", RED, "#6a1b9a", INK)


def side_by_side(result: RunResult) -> str:
    """The section of a report on several targets with latencies; nothing where there are fewer than two."""
    trials = _feasible(result)
    targets = list(choices(result.record.targets, trials))
    if len(targets) < 2 or result.record.parent is None:
        return ""
    return section("Targets side by side", _TEXT, drawn([fronts(result)]), _matrix(result, trials))


def fronts(result: RunResult) -> go.Figure:
    """The task's first metric over how many times faster than the parent a variant is, a line a target."""
    record, parent = result.record, result.record.parent
    name = next(iter(record.metrics))
    higher = result.goals.higher_is_better(name) is not False
    figure = go.Figure(layout=LAYOUT)
    for target, colour in zip(record.targets, _cycled(len(record.targets)), strict=True):
        latency, metric = f"latency_ms/{target}", f"{name}/{target}"
        own = parent.values.get(latency, math.nan) if parent else math.nan
        measured = [t for t in _feasible(result) if latency in t.values and metric in t.values]
        known = [t for t in measured if not stands_in(t, target)]
        if not known or not own > 0:
            continue
        best = front_of(known, latency, metric, higher)
        figure.add_trace(
            go.Scatter(
                x=[own / t.values[latency] for t in best],
                y=[t.values[metric] for t in best],
                text=[t.name for t in best],
                name=target,
                mode="lines+markers",
                line={"shape": "hv", "color": colour, "width": 1.5},
                hovertemplate="%{text}: %{x:.3g} times, %{y:.4g}<extra>" + escape(target) + "</extra>",
            )
        )
    shown = record.metric(name)
    figure.update_xaxes(title="times faster than the parent there", type="log")
    figure.update_yaxes(title=shown.title, tickformat=".1%" if shown.unit == SHARE else None)
    return figure


def _feasible(result: RunResult) -> list[TrialRecord]:
    """The complete variants within the constraints, and the parent."""
    record = result.record
    searched = [t for t in record.searched() if is_complete(t, result.goals)]
    found = [t for t in searched if not violation_of(record, t) > 0]
    return [*found, *([record.parent] if record.parent is not None else [])]


def _within_a_point(result: RunResult, trials: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    return close_to_parent(result.record, result.goals, trials) or trials


_TEXT = (
    "<p>The front of each target, by the metric there. Below, for each target the fastest variant within "
    "a point of the parent (the one to ship there), and what it costs to take another target's instead: "
    "how much slower it is than the target's own.</p>"
)


def _matrix(result: RunResult, trials: Sequence[TrialRecord]) -> str:
    """A row for each target's choice, a column for each target that it runs on."""
    chosen = choices(result.record.targets, _within_a_point(result, trials))
    lost = losses(chosen)
    rows = []
    for target, trial in chosen.items():
        cells = [escape(target), escape(trial.name)]
        for other in chosen:
            metric = result.record.metric(f"latency_ms/{other}")
            latency, share = trial.values.get(metric.name, math.nan), lost[target, other]
            more = "" if not share > 0 else f' <span class="slower">+ {100 * share:.0f} %</span>'
            cells.append(UNKNOWN if math.isnan(share) else f"{metric_value(metric, latency)} ms{more}")
        rows.append(("", cells))
    return table(["chosen for", "variant", *(f"on {escape(target)}" for target in chosen)], rows)


def _cycled(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]
