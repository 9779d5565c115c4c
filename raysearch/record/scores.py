"""How far a run has come: its front and its hypervolume, kept up to date trial by trial.

Costs are taken in units of the parent: divided by the size of the parent's figure (by 1 where that is 0), and
of the opposite sign where more is better, so that any sign and unit will do. Volume counts up to a reference
point that is worse than the parent by a share of the parent's figure: a tenth for what is raysearch's own and
for an accuracy, the whole of it for any other metric of a task (twice the parent's error, or a score of 0).
A trial that is not better than that in every objective adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raysearch import pareto
from raysearch.metrics import SHARE
from raysearch.objectives import Goals
from raysearch.record.run_record import RunRecord, TrialRecord

#: How much worse than the parent the hypervolume's reference point is, as a share of the parent's figure.
REFERENCE_MARGIN = 0.1
#: The same for a task's metric of unknown scale: an error that grows by more than a tenth is no rare thing.
TASK_MARGIN = 1.0


def goals_of(record: RunRecord, *, final: bool = False) -> Goals:
    """The goals of a run, read against what its parent has reported so far.

    Args:
        record: the run.
        final: read the last step against the parent's figures measured after the search, where they exist.
    """
    study = record.header["study"]
    last_step = study["search"]["epochs"] + 1
    reports = _parent_reports(record, last_step) if record.parent else {}
    if final and record.parent and record.parent.final:
        reports[last_step] = record.parent.values
    goals = Goals.parse(study["objectives"], study["constraints"], last_step, reports)
    return replace(goals, reference=_reference_figures(record, goals))


def _parent_reports(record: RunRecord, last_step: int) -> dict[int, dict[str, float]]:
    """What the parent reported, by the steps of a trial.

    Its end, later than theirs, stands at their last. At their epochs stands the parent trained on, where it
    is complete: they start from the parent's weights as it does.
    """
    parent, longer = record.trials["parent"], record.trials.get("parent-longer")
    known = parent.figures
    reports = {step: values for step, values in known.items() if step < last_step}
    if longer is not None and longer.outcome == "finished":
        reports |= {step: values for step, values in longer.figures.items() if 0 < step < last_step}
    return {**reports, last_step: known[parent.step]} if parent.step >= last_step else reports


def _reference_figures(record: RunRecord, goals: Goals) -> dict[str, float]:
    """The hypervolume's reference point as figures, by metric; none before the parent's are known."""
    parent = record.parent
    known = parent.searched_values if parent and is_complete(parent, goals) else {}
    point = reference_point(record, goals, known)
    if not np.isfinite(point).all():
        return {}
    signs = [-1 if o.maximize else 1 for o in goals.objectives]
    scale = [abs(known[metric]) or 1.0 for metric in goals.metrics]
    return dict(zip(goals.metrics, (point * signs * scale).tolist(), strict=True))


def violation_of(record: RunRecord, trial: TrialRecord) -> float:
    """How far a trial is from the constraints by the best figures there are; 0 is feasible.

    Figures measured after the search are read against the parent's that were measured then, all others
    against what the search knew of the parent.

    Returns:
        The violation, in [0, inf]; NaN before the trial's first report.
    """
    if not trial.reports:
        return math.nan
    return goals_of(record, final=bool(trial.final)).violation(trial.values, trial.step)


def is_complete(trial: TrialRecord, goals: Goals) -> bool:
    """Whether the trial ended with an exported, evaluated model."""
    return trial.outcome == "finished" and trial.step >= goals.last_step


def parent_units(
    goals: Goals, values: Mapping[str, float], parent: Mapping[str, float]
) -> NDArray[np.float64]:
    """The costs (m,) in units of the parent; NaN where a metric of either is absent."""
    scale = np.array([abs(float(parent.get(metric, math.nan))) for metric in goals.metrics])
    with np.errstate(over="ignore", invalid="ignore"):
        units: NDArray[np.float64] = goals.costs(values) / np.where(scale == 0, 1.0, scale)
    return units


def reference_point(record: RunRecord, goals: Goals, parent: Mapping[str, float]) -> NDArray[np.float64]:
    """The hypervolume's reference (m,) in units of the parent; NaN where the parent has no finite figure."""
    known = [record.metric(metric) for metric in goals.metrics]
    own = [m.source != "the task" or m.unit == SHARE for m in known]
    units = parent_units(goals, parent, parent)
    return np.where(np.isfinite(units), units + np.where(own, REFERENCE_MARGIN, TASK_MARGIN), np.nan)


class Scores:
    """The front and hypervolume of the complete, feasible trials of a run.

    Args:
        record: the run, kept up to date by whoever owns it; trials that have ended already are taken in.
            Where its limits change, or figures of ended trials come, another is to be made.

    Attributes:
        front: the searched trials that are feasible and non-dominated by what the search saw.
        hypervolume: of the front; NaN before the parent's figures are known, or where one is not finite.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.front: list[TrialRecord] = []
        self.hypervolume = math.nan
        self._costs: list[NDArray[np.float64]] = []
        self._units: list[NDArray[np.float64]] = []  # the same in those of the parent
        self._known: tuple[object, ...] = ()  # what the goals were read against
        self._goals: Goals | None = None
        ended = [t for t in record.searched() if t.ended is not None]
        for trial in sorted(ended, key=lambda t: t.ended or 0.0):
            self.add(trial)

    def add(self, trial: TrialRecord) -> bool:
        """Take in a searched trial that has ended; says whether it changed the front."""
        goals = self._goals_now()
        reference = self._reference(goals)
        if math.isnan(self.hypervolume) and np.isfinite(reference).all():
            self.hypervolume = 0.0
        values = trial.searched_values
        costs = goals.costs(values)
        if (
            not is_complete(trial, goals)
            or not np.isfinite(costs).all()
            or goals.violation(values, trial.step) > 0
        ):
            return False
        kept = pareto.non_dominated(np.array([*self._costs, costs]), np.zeros(len(self._costs) + 1))
        if not kept[-1]:
            return False
        self.front = [t for t, keep in zip([*self.front, trial], kept, strict=True) if keep]
        self._costs = [c for c, keep in zip([*self._costs, costs], kept, strict=True) if keep]
        parent = self.record.parent
        own = parent_units(goals, values, parent.searched_values if parent is not None else {})
        self._units = [u for u, keep in zip([*self._units, own], kept, strict=True) if keep]
        if parent is not None and not math.isnan(self.hypervolume):
            self.hypervolume = pareto.hypervolume(np.array(self._units), reference)
        return True

    def _goals_now(self) -> Goals:
        """The goals by what the parent has reported; read again only where that has changed."""
        references = [self.record.trials.get(name) for name in ("parent", "parent-longer")]
        known = (id(self.record.header), *((t.step, t.outcome) if t else None for t in references))
        if self._goals is None or known != self._known:
            self._known, self._goals = known, goals_of(self.record)
            parent = self.record.trials["parent"].searched_values if self.record.parent else {}
            self._units = [parent_units(self._goals, t.searched_values, parent) for t in self.front]
        return self._goals

    def _reference(self, goals: Goals) -> NDArray[np.float64]:
        """The reference point (m,); NaN before the parent is complete."""
        parent = self.record.parent
        known = parent is not None and is_complete(parent, goals)
        return reference_point(self.record, goals, parent.searched_values if parent and known else {})


def final_front(record: RunRecord, candidates: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The front by the best figures there are: those measured after the search where they exist.

    Only what the search found non-dominated (``candidates``) can be on it, since only that is measured again;
    the parent is on it unless a candidate dominates it, or an objective's figure is of what stands in for it
    on a target that computes nothing in float.
    """
    goals, parent = goals_of(record), record.parent
    compared = parent is not None and is_complete(parent, goals) and not _stands_in(parent, goals)
    pool = [*candidates, *([parent] if parent is not None and compared else [])]
    if not pool:
        return []
    violations = np.array([violation_of(record, t) for t in pool])
    costs = np.array([goals.costs(t.values) for t in pool])
    costs = np.where(np.isfinite(costs), costs, np.nan)  # no figure to compare by
    kept = pareto.non_dominated(costs, violations)
    return [t for t, keep in zip(pool, kept, strict=True) if keep]


def _stands_in(parent: TrialRecord, goals: Goals) -> bool:
    """Whether an objective is on a target where another form of the parent was asked about."""
    targets = {m["target"] for m in parent.measurements if m.get("stands_in")}
    return any(metric.partition("/")[2] in targets for metric in goals.metrics)
