"""Whether a variant is faster than its rivals by more than the noise of the measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from raysearch.record.run_record import RunRecord, TrialRecord

#: Differences below this are never called faster: what the protocol resolves at best.
LEAST_MARGIN = 0.02


def noise_of(trial: TrialRecord, target: str) -> float:
    """The relative half-width of the interval of the trial's latest latency on the target; 0 if unknown."""
    found = [float(m.get("noise", 0.0)) for m in trial.measurements if m.get("target") == target]
    return found[-1] if found and math.isfinite(found[-1]) else 0.0


def compare(trial: TrialRecord, rival: TrialRecord, target: str) -> tuple[float, str]:
    """How many times faster than the rival a trial is on a target, and the verdict.

    Returns:
        rival's latency / the trial's (NaN where either is unknown), and "faster" where that exceeds 1 by more
        than the noise of both figures, else "not faster"; "" where unknown, and of a trial beside itself.
    """
    metric = f"latency_ms/{target}"
    own, other = trial.values.get(metric, math.nan), rival.values.get(metric, math.nan)
    if not (own > 0 and other > 0):
        return math.nan, ""
    if trial is rival:
        return 1.0, ""
    margin = max(LEAST_MARGIN, math.hypot(noise_of(trial, target), noise_of(rival, target)))
    return other / own, "faster" if other / own > 1 + margin else "not faster"


def verdict_columns(record: RunRecord, trial: TrialRecord, targets: Iterable[str]) -> dict[str, Any]:
    """Comparisons with the parent and with its static int8 form, as columns of the front.

    Returns:
        "times_faster/<target>" and "verdict/<target>" against the parent, "times_faster_int8/<target>" and
        "verdict_int8/<target>" against its static int8 form, "times_smaller" (by size_mb) and
        "times_smaller_file" (by file_mb) against the parent.
    """
    columns: dict[str, Any] = {}
    known = record.parent.values if record.parent is not None else {}
    for target in targets:
        if known and f"latency_ms/{target}" not in known:  # it says nothing of time
            continue
        for rival_name, suffix in (("parent", ""), ("parent-int8", "_int8")):
            rival = record.trials.get(rival_name)
            if rival is not None:
                times, verdict = compare(trial, rival, target)
                columns[f"times_faster{suffix}/{target}"] = times
                columns[f"verdict{suffix}/{target}"] = verdict
    parent = record.parent
    if parent is not None:
        for metric, column in (("size_mb", "times_smaller"), ("file_mb", "times_smaller_file")):
            own, other = trial.values.get(metric, math.nan), parent.values.get(metric, math.nan)
            columns[column] = other / own if own > 0 else math.nan
    return columns
