"""Where the figures of a report come from: the measurements of each target, and what each metric is."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from raysearch.metrics import OWN, Metric
from raysearch.record.results import RunResult
from raysearch.reporting.figures import UNKNOWN
from raysearch.reporting.page import table


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
        noises = [float(m["noise"]) for m in found if "noise" in m]
        noise = f"± {100 * statistics.median(noises):.1f} %" if noises else UNKNOWN
        fresh = sum(not m.get("cached") for m in found)
        contended = sum(bool(m.get("contended")) for m in found)
        sources = _distinct(found, "source")
        cells = [noise, f"{fresh} {sources}", str(len(found) - fresh), str(contended)]
        rows.append(("", [escape(target), *said, *cells]))
    head = ["target", "runtime", "device", "threads", "batch", "noise (median)", "latencies"]
    return table([*head, "from the cache", "beside other load"], rows)


def definitions(result: RunResult) -> str:
    """What latency is, and each metric in a line."""
    known = [*map(result.record.metric, result.record.metrics), *OWN.values()]
    items = "".join(f"<dt>{escape(m.form)}</dt><dd>{escape(m.description)} ({_from(m)})</dd>" for m in known)
    text = (
        "A measured latency is the median paired ratio to the parent, measured in alternating blocks (of one "
        "thread's CPU time, where there is one thread), times the parent's quiet latency; the noise is half "
        "the 95 % interval of that ratio. A predicted one is what the device's own compiler says."
    )
    return f"<p>{text}</p><dl>{items}</dl>"


def _from(metric: Metric) -> str:
    """Where a metric's figures come from; of a target what each target says."""
    return "measured, predicted or counted, as each target has it" if metric.per_target else metric.source


def _distinct(measurements: Iterable[Mapping[str, Any]], field: str) -> str:
    def text(m: Mapping[str, Any]) -> str:
        shown = m.get(field, UNKNOWN)
        return f"{m.get('runtime', '')} {shown}".strip() if field == "version" else str(shown)

    return escape(", ".join(sorted({text(m) for m in measurements})))
