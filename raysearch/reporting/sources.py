"""Where the figures of a report come from: the measurements of each target, and what each metric is."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from raysearch.basics.figures import is_prediction
from raysearch.metrics import OWN, Metric
from raysearch.record.predictions import Predicted, predictions
from raysearch.record.results import RunResult
from raysearch.reporting.figures import UNKNOWN
from raysearch.reporting.page import drawn, table
from raysearch.reporting.plots import predicted_against_measured


def provenance(result: RunResult) -> str:
    """One row per target: runtime, version, device, threads, noise."""
    rows = []
    for target in result.record.targets:
        found = [
            m for t in result.record.trials.values() for m in t.measurements if m.get("target") == target
        ]
        if not found:
            rows.append(("", [escape(target), "not measured yet", *[UNKNOWN] * 7]))
            continue
        # A cluster may hold several devices of a kind; all that were used are named.
        said = [_distinct(found, field) for field in ("version", "device", "threads", "batch")]
        noises = [float(m["noise"]) for m in found if "noise" in m and not is_prediction(m)]
        noise = f"± {100 * statistics.median(noises):.1f} %" if noises else UNKNOWN
        fresh = Counter(_source(m) for m in found if not m.get("cached"))
        contended = sum(bool(m.get("contended")) for m in found)
        sources = ", ".join(f"{count} {escape(source)}" for source, count in sorted(fresh.items()))
        cells = [noise, sources or "0", str(len(found) - fresh.total()), str(contended)]
        rows.append(("", [escape(target), *said, *cells]))
    head = ["target", "runtime", "device", "threads", "batch", "noise (median)", "latencies"]
    return table([*head, "from the cache", "beside other load"], rows)


def predicted(result: RunResult) -> str:
    """What was predicted in place of measuring, against what was measured later; "" where nothing was."""
    found = predictions(result.record)
    if not found:
        return ""
    text = (
        "Candidates whose latency was known well enough from those measured, on a device that was slow or "
        "busy, were not measured to choose who trains. Who trained was measured, and the front is measured."
    )
    head = [
        "target",
        "predicted",
        "never measured",
        "measured later",
        "error (median)",
        "largest",
        "in its interval",
    ]
    rows = [
        ("", _compared(target, [p for p in found if p.target == target])) for target in result.record.targets
    ]
    plot = drawn([predicted_against_measured(found)]) if any(p.measured for p in found) else ""
    return f"<p>{text}</p>{table(head, [row for row in rows if row[1]])}{plot}"


def _compared(target: str, found: Sequence[Predicted]) -> list[str]:
    """A target's row; empty without predictions."""
    if not found:
        return []
    errors = [abs(p.error) for p in found if p.error is not None]
    cells = [escape(target), str(len(found)), str(len(found) - len(errors)), str(len(errors))]
    if not errors:
        return [*cells, *[UNKNOWN] * 3]
    told = [statistics.median(errors), max(errors)]
    return [*cells, *(f"{100 * e:.1f} %" for e in told), f"{sum(p.held for p in found)} of {len(errors)}"]


def definitions(result: RunResult) -> str:
    """What latency is, and each metric in a line."""
    known = [*map(result.record.metric, result.record.metrics), *OWN.values()]
    items = "".join(f"<dt>{escape(m.form)}</dt><dd>{escape(m.description)} ({_from(m)})</dd>" for m in known)
    text = (
        "A measured latency is the median paired ratio to the parent, measured in alternating blocks (of one "
        "thread's CPU time, where there is one thread), times the parent's quiet latency; the noise is half "
        "the 95 % interval of that ratio. A predicted one is what the device's own compiler says, or of a "
        "candidate that did not train: predicted from those that were measured."
    )
    return f"<p>{text}</p><dl>{items}</dl>"


def _from(metric: Metric) -> str:
    """Where a metric's figures come from; of a target what each target says."""
    return "measured, predicted or counted, as each target has it" if metric.per_target else metric.source


def _source(measured: Mapping[str, Any]) -> str:
    return (
        "predicted from those measured" if is_prediction(measured) else str(measured.get("source", UNKNOWN))
    )


def _distinct(measurements: Iterable[Mapping[str, Any]], field: str) -> str:
    def text(m: Mapping[str, Any]) -> str:
        shown = m.get(field, UNKNOWN)
        return f"{m.get('runtime', '')} {shown}".strip() if field == "version" else str(shown)

    return escape(", ".join(sorted({text(m) for m in measurements})))
