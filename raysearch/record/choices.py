"""Which variant to take, and on which target: one target's choice is not another's.

And whether an early exit is worth it, beside the plain variant of equal mean latency.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raysearch.metrics import MEAN_LATENCY, SHARE, TEST
from raysearch.objectives import Goals
from raysearch.pareto import non_dominated
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.scores import is_complete
from raysearch.record.ties import are_tied
from raysearch.record.verdicts import LEAST_MARGIN, noise_of

_POINT = 0.01


def close_to_parent(record: RunRecord, goals: Goals, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that are at most a point behind the parent in the task's first metric.

    A point is one per cent: of all for an accuracy, else of the parent's figure. On the test split, where it
    is known.

    Returns:
        None of them where no goal says whether more of the metric is better.
    """
    parent, (name, unit) = record.parent, next(iter(record.metrics.items()))
    higher = goals.higher_is_better(name)
    if parent is None or higher is None:
        return []
    key = compared_by(record)
    own = parent.values.get(key, math.nan)
    room = _POINT if unit == SHARE else _POINT * abs(own)
    signed = 1 if higher else -1
    return [t for t in trials if signed * (own - t.values.get(key, math.nan)) <= room]


def compared_by(record: RunRecord) -> str:
    """The key of the task's first metric, on the test split where the parent was evaluated there."""
    name = next(iter(record.metrics))
    tested = record.parent is not None and f"{TEST}{name}" in record.parent.values
    return f"{TEST}{name}" if tested else name


def front_of(
    trials: Sequence[TrialRecord], latency: str, metric: str, higher_is_better: bool
) -> list[TrialRecord]:
    """The trials that none beats in both a latency and a metric, the fastest first; all report both."""
    sign = -1 if higher_is_better else 1
    costs = [[trial.values[latency], sign * trial.values[metric]] for trial in trials]
    kept = non_dominated(costs, [0.0] * len(costs)).tolist() if costs else []
    return sorted((t for t, on in zip(trials, kept, strict=True) if on), key=lambda t: t.values[latency])


def stands_in(trial: TrialRecord, target: str) -> bool:
    """Whether its figures on a target are of another form of it, which alone can run there."""
    return any(m.get("stands_in") for m in trial.measurements if m.get("target") == target)


def choices(targets: Sequence[str], trials: Sequence[TrialRecord]) -> dict[str, TrialRecord]:
    """For each target, of which latencies are known, the trial that is fastest there."""
    found = {}
    for target in targets:
        known = [t for t in trials if f"latency_ms/{target}" in t.values and not stands_in(t, target)]
        if known:
            found[target] = min(known, key=lambda t: t.values[f"latency_ms/{target}"])
    return found


def losses(chosen: Mapping[str, TrialRecord]) -> dict[tuple[str, str], float]:
    """How much slower each target's choice is on the others than their own, as a share; by (chosen for, on).

    NaN where it was not measured there.
    """
    found = {}
    for target, trial in chosen.items():
        for other, best in chosen.items():
            key = f"latency_ms/{other}"
            own = math.nan if stands_in(trial, other) else trial.values.get(key, math.nan)
            found[target, other] = own / best.values[key] - 1
    return found


@dataclass(frozen=True)
class Beside:
    """A variant that inputs may leave early, beside the plain one of equal mean latency.

    Attributes:
        plain: the best variant that is run to its end and takes no longer than the other in the mean; None
            where every one takes longer.
        gain: how much better the early exit's figure is in the task's first metric; NaN where it is unknown.
        metric: the key of that figure: on the test split where both were evaluated there.
        worth_it: whether the gain is more than its noise on the test split, or there is no plain variant.
    """

    plain: TrialRecord | None
    gain: float
    metric: str
    worth_it: bool


def leaves_early(trial: TrialRecord) -> bool:
    """Whether inputs may leave the trial's network early."""
    return any("early_ms" in measured for measured in trial.measurements)


def plain_beside(record: RunRecord, goals: Goals, trial: TrialRecord, target: str) -> Beside | None:
    """The plain variant beside one with an early exit, chosen by what the search saw, and the verdict.

    Returns:
        None where no goal says whether more of the task's first metric is better, or the mean latency is not
        known.
    """
    name = next(iter(record.metrics))
    higher, own = goals.higher_is_better(name), trial.searched_values
    mean = own.get(f"{MEAN_LATENCY}/{target}", math.nan)
    if higher is None or not mean > 0:
        return None
    sign = 1 if higher else -1
    limit = mean * (1 + max(LEAST_MARGIN, noise_of(trial, target)))
    rivals = [(t, t.searched_values) for t in record.trials.values() if is_complete(t, goals)]
    fitting = [
        (t, values)
        for t, values in rivals
        if not leaves_early(t) and values.get(f"latency_ms/{target}", math.inf) <= limit and name in values
    ]
    if not fitting:
        return Beside(None, math.nan, name, True)
    plain = max(fitting, key=lambda each: sign * each[1][name])[0]
    tested = f"{TEST}{name}" in trial.values and f"{TEST}{name}" in plain.values
    key = f"{TEST}{name}" if tested else name
    gain = sign * (trial.values.get(key, math.nan) - plain.values.get(key, math.nan))
    return Beside(plain, gain, key, tested and gain > 0 and not are_tied(trial, plain, name))
