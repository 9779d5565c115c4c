"""sweep.html: the curves of a sweep with their measurements and error bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from raysearch.allocation.curves import Curve
from raysearch.allocation.sweeps import importances_left_out
from raysearch.metrics import Metric
from raysearch.record.run_record import RunRecord
from raysearch.reporting import allocation_plots
from raysearch.reporting.figures import metric_value, number
from raysearch.reporting.page import document, drawn, section, table

FILE_NAME = "sweep.html"
_ROUNDING = 1e-9  # relative to the figure
_BAND = (
    "<p>Each branch is pruned by itself, and all are together; each network is retrained and measured. Dots "
    "are measurements; the band is where 95 % of new ones are expected, by the error on ratios left out of "
    "the fit. Sizes and latencies are a branch's contribution: unpruned, and with all pruned together, they "
    "sum to the whole network's.</p>"
)
_TOGETHER = (
    "<p>All branches pruned by the same ratio: the mean of the shares of their channels that really went. A "
    "network with several branches pruned loses more than each alone says; an allocation file takes this "
    "curve of the accuracy for every branch, unless it says <code>accuracy: alone</code>.</p>"
)
_HEADS = {"network_mb": "whole network, MB", "network_ms": "whole network, ms"}


def render(
    record: RunRecord,
    quality: str,
    measured: pd.DataFrame,
    together: pd.DataFrame,
    curves: Mapping[str, Mapping[str, Curve]],
    notes: Sequence[str],
    left_out: Mapping[str, Any],
) -> str:
    """The page as one HTML document.

    Args:
        record: the sweep's.
        quality: the column of accuracy, or of another metric.
        measured: of ``raysearch.sweeps.table.table_of``.
        together: of ``raysearch.sweeps.table.together_of``.
        curves: by branch and metric; perhaps one of all together, which has fewer metrics.
        notes: what is not known, such as why some branches have no curves.
        left_out: the parent's ``accuracy``, and ``without`` each branch; neither where it was not measured.
    """
    task = record.header["study"]["task"]
    name = str(task.get("name") or task.get("import"))
    parts = [f"<header><h1>raysearch <span>sweep of {escape(name)}</span></h1>{_BAND}</header>"]
    parts.append("".join(f"<p>{escape(note)}</p>" for note in notes))
    if curves:
        metrics = next(iter(curves.values()))
        for metric in metrics:
            shown = {name: found[metric] for name, found in curves.items() if metric in found}
            title = record.metric(metric).title
            figure = allocation_plots.curves(shown, label=title)
            parts.append(
                section(
                    escape(title[:1].upper() + title[1:]),
                    _errors(shown, record.metric(metric)),
                    drawn([figure]),
                )
            )
    if "without" in left_out:
        parts.append(section("Branches left out", _left_out(record.metric(quality), left_out)))
    if not together.empty:
        parts.append(section("All branches together", _TOGETHER, _points(record, together)))
    if not measured.empty:
        parts.append(
            section("Measurements", _points(record, measured.drop(columns="left_out", errors="ignore")))
        )
    return document(f"sweep of {name}", "".join(parts))


def _points(record: RunRecord, measured: pd.DataFrame) -> str:
    known = {str(c): record.metric(str(c)) for c in measured.columns}
    rows = [
        ("", [escape(v if isinstance(v, str) else metric_value(known[str(c)], v)) for c, v in row.items()])
        for row in measured.to_dict("records")
    ]
    return table([_HEADS.get(c) or escape(known[str(c)].title) for c in measured.columns], rows)


def _left_out(quality: Metric, found: Mapping[str, Any]) -> str:
    """What the network is without each branch, and the importances that this gives."""
    importances = importances_left_out(found["accuracy"], found["without"])

    def shown(value: float) -> str:
        return escape(metric_value(quality, value))

    rows = [
        ("", [escape(name), *map(shown, (without, found["accuracy"] - without)),
              number(importances[name])])
        for name, without in found["without"].items()
    ]  # fmt: skip
    head = ["branch", f"{escape(quality.title)} without it", "lost", "importance"]
    said = (
        f"<p>The parent as it was trained has {shown(found['accuracy'])} ({escape(quality.title)}) "
        "on the validation split. Without a branch, its output set to zero, it has the following. An "
        "allocation file takes these importances by <code>importances: left_out</code>. They tell branches "
        "side by side apart; of layers one after another each is indispensable.</p>"
    )
    return said + table(head, rows)


def _errors(curves: Mapping[str, Curve], metric: Metric) -> str:
    rows = [
        ("", [escape(name), escape(str(curve)), escape(metric_value(metric, _error(curve)))])
        for name, curve in curves.items()
    ]
    return table(["branch", "curve of the ratio p", "error"], rows)


def _error(curve: Curve) -> float:
    """The error of a curve, 0 where it is no more than rounding."""
    largest = float(np.abs(curve(np.array(curve.domain))).max())
    return 0.0 if curve.error < _ROUNDING * largest else curve.error
