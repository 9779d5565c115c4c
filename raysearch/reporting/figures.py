"""Figures as people read them: metrics, durations and ratios as short text."""

from __future__ import annotations

import math

from raysearch.metrics import SHARE, Metric

UNKNOWN = "\u2013"  # an en dash
TIMES = "\u00d7"  # the multiplication sign


def number(value: float) -> str:
    """Four significant digits, large counts in k, M, G; a dash where unknown."""
    if not math.isfinite(value):
        return UNKNOWN if math.isnan(value) else str(value)
    value += 0.0  # no "-0"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{value:.4g}" if abs(value) < 1e3 else f"{value:.0f}"


def metric_value(metric: Metric, value: float) -> str:
    """A metric's figure: shares in per cent, all else as ``number``."""
    return f"{100 * value:.2f} %" if metric.unit == SHARE and 0 <= value <= 1 else number(value)


def times(ratio: float) -> str:
    """A ratio: "3.2 x"; a dash where unknown."""
    if math.isnan(ratio):
        return UNKNOWN
    return f"{ratio:.0f} {TIMES}" if ratio >= 100 else f"{ratio:.3g} {TIMES}"


def duration(seconds: float) -> str:
    """Minutes and seconds, "4:05", or hours, "2 h 04"; a dash where unknown."""
    if not math.isfinite(seconds):
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"
