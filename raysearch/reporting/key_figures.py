"""The front in a few figures, at the head of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raysearch.metrics import SHARE, TEST
from raysearch.record.choices import close_to_parent, compared_by
from raysearch.record.results import RunResult
from raysearch.record.run_record import TrialRecord
from raysearch.record.verdicts import compare
from raysearch.reporting.figures import metric_value, times
from raysearch.reporting.page import tile


def key_figures(result: RunResult) -> list[str]:
    """Tiles: the front's size, the best in each objective beside the parent, and what a point buys."""
    variants = [t for t in result.front_records if t.role == "trial"]
    word = "variant" if len(variants) == 1 else "variants"
    beside = "beside the parent" if len(result.front_records) > len(variants) else ""
    shown = [tile(str(len(variants)), f"{word} on the front", beside)]
    parent = result.record.parent
    for objective in result.goals.objectives if variants else ():
        metric, choose = result.record.metric(objective.metric), max if objective.maximize else min
        best = choose(variants, key=lambda t, m=metric.name: t.values[m])  # type: ignore[misc]
        reference = parent.values.get(metric.name, math.nan) if parent else math.nan
        word = "highest" if objective.maximize else "lowest"
        note = f"variant {best.name}, parent {metric_value(metric, reference)}"
        shown.append(tile(metric_value(metric, best.values[metric.name]), f"{word} {metric.title}", note))
    return [*shown, *_within_a_point(result, variants)]


def _within_a_point(result: RunResult, variants: Sequence[TrialRecord]) -> list[str]:
    """How much faster and smaller than the parent one can be for a point of the task's first metric.

    Nothing where no goal says whether more of the metric is better, or where no variant is faster (beyond the
    noise) or smaller.
    """
    record, parent = result.record, result.record.parent
    name, unit = next(iter(record.metrics.items()))
    close = close_to_parent(record, result.goals, variants)
    if parent is None or not close:
        return []
    said = "1 point" if unit == SHARE else f"1 % of the parent's {name}"
    where = "test split" if compared_by(record).startswith(TEST) else "validation split"
    gains = {
        "faster": [_times_faster(t, parent, result.record.targets[0]) for t in close],
        "smaller (the file)": [_times_smaller(t, parent) for t in close],
    }
    shown = []
    for word, found in gains.items():
        ratio, best = max(zip(found, (t.name for t in close), strict=True), default=(0.0, ""))
        if ratio > 1:
            note = f"variant {best}, within {said} ({where})"
            shown.append(tile(times(ratio), f"{word} than the parent", note))
    return shown


def _times_faster(trial: TrialRecord, parent: TrialRecord, target: str) -> float:
    """How many times faster, where that is more than the noise; else 0."""
    ratio, verdict = compare(trial, parent, target)
    return ratio if verdict == "faster" else 0.0


def _times_smaller(trial: TrialRecord, parent: TrialRecord) -> float:
    own, other = trial.values.get("file_mb", math.nan), parent.values.get("file_mb", math.nan)
    return other / own if own > 0 and other > 0 else 0.0
