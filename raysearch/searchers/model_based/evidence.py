"""The trials of a model-based searcher as arrays: under way, stopped or finished, what models may learn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.metrics import ERROR, is_static
from raysearch.objectives import Constraint, Goals
from raysearch.pareto import non_dominated, priority
from raysearch.searchers.base import Outcome
from raysearch.searchers.encoding import Vector
from raysearch.searchers.model_based.fidelity import final_values, stage_of

Mask = NDArray[np.bool_]

_UNCHANGED = 3  # trials that reported a metric again without a change, and none that changed it
_LARGEST = 1e100  # a larger figure, whose square might overflow, counts as not known


@dataclass
class Observed:
    """One trial: its point, which parameters matter there, and what it reported."""

    vector: list[float]
    active: list[bool]
    step: int = -1
    outcome: Outcome | None = None
    violation: float = math.inf
    values: dict[str, float] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric, and of each metric that is trained one a stage."""
        if step <= self.step:
            return
        self.step = step
        self.values.update(values)
        for metric, value in values.items():
            if not is_static(metric):
                # The first value of a stage: the last one of a trial that finished would be its final value.
                self.stages.setdefault(metric, {}).setdefault(stage_of(step), float(value))


@dataclass(frozen=True)
class Evidence:
    """A selection of trials as arrays over its n rows.

    Attributes:
        vectors: points, shape (n, parameters); active: which parameters matter, the same shape.
        targets: costs of the objectives, then the constraints' margins (<= 0 is kept), shape (n, m + c);
            NaN where nothing is known.
        variances: of the targets: where they are estimates from an early step, and the noise of a small
            validation set where it was reported.
        finished: which trials are complete; running: which are under way; steps: the last that each reported.
        violations: of the finished trials; inf for the others.
    """

    vectors: Vector
    active: Mask
    targets: Vector
    variances: Vector
    finished: Mask
    running: Mask
    steps: NDArray[np.intp]
    violations: Vector
    names: NDArray[np.str_]


class Evidences:
    """All trials of one search."""

    def __init__(self, goals: Goals) -> None:
        self._goals = goals
        self._metrics = [o.metric for o in goals.objectives] + [c.metric for c in goals.constraints]
        self.trained = [m for m in dict.fromkeys(self._metrics) if not is_static(m)]
        self.trials: dict[str, Observed] = {}
        self.ended = 0

    def end(self, trial: str, outcome: Outcome) -> None:
        """A trial is over; one that failed is forgotten, for it says nothing about any metric."""
        observed = self.trials.get(trial)
        if observed is None or observed.outcome is not None:
            return
        if outcome == "failed":
            del self.trials[trial]
            return
        observed.outcome = outcome
        observed.violation = self._goals.violation(observed.values, self._goals.last_step)
        self.ended += 1

    def select(self, limit: int, those: Sequence[str] = ()) -> Evidence:
        """At most ``limit`` trials that ended: the best half, and the rest spread over time.

        Besides, the latest of those under way, a third as many at most, and those that are named.
        """
        trials = list(self.trials.values())
        names = np.array(list(self.trials))
        finished = np.array([t.outcome == "finished" for t in trials], dtype=bool)
        running = np.array([t.outcome is None for t in trials], dtype=bool)
        targets, variances = self._targets(trials, finished)
        objectives = len(self._goals.objectives)
        ended = np.flatnonzero(~running & np.isfinite(targets).any(axis=1))
        if len(ended) > limit:
            missed = np.maximum(np.nan_to_num(targets[ended, objectives:], nan=0.0), 0.0).sum(axis=1)
            order = priority(targets[ended, :objectives], missed)
            best, rest = ended[order[: limit // 2]], np.sort(ended[order[limit // 2 :]])
            places = np.linspace(0, len(rest) - 1, limit - len(best)).round().astype(np.intp)
            ended = np.sort(np.concatenate([best, rest[places]]))
        latest = np.flatnonzero(running)[-limit // 3 :]
        named = np.flatnonzero(running & np.isin(names, list(those))) if those else latest
        rows = np.concatenate([ended, np.union1d(latest, named)])
        some = [trials[row] for row in rows.tolist()]
        return Evidence(
            np.array([t.vector for t in some]),
            np.array([t.active for t in some], dtype=bool),
            targets[rows],
            variances[rows],
            finished[rows] & np.isfinite(targets[rows, :objectives]).all(axis=1),
            running[rows],
            np.array([t.step for t in some], dtype=np.intp),
            np.array([t.violation for t in some]),
            names[rows],
        )

    def seen(self, names: Sequence[str], step: int) -> list[list[float]]:
        """What trials reported about a step of each of the metrics that are trained, NaN where nothing."""
        stage = stage_of(step)
        return [[self.trials[n].stages.get(m, {}).get(stage, math.nan) for m in self.trained] for n in names]

    def known_early(self) -> Mask:
        """Which objectives and constraints are on metrics that training does not change, shape (m + c,)."""
        return np.array([self._is_known_early(metric) for metric in self._metrics])

    def _is_known_early(self, metric: str) -> bool:
        """Whether it is static, or no trial that reported it again has ever changed it."""
        if is_static(metric):
            return True
        histories = [
            set(t.stages.get(metric, {}).values())
            for t in self.trials.values()
            if len(t.stages.get(metric, ())) > 1
        ]
        return len(histories) >= _UNCHANGED and all(len(values) == 1 for values in histories)

    def limits(self) -> tuple[Vector, Mask]:
        """The highest cost that counts by objective (m,), or inf; which constraints say it (c,)."""
        objectives = self._goals.objectives
        known = (self._goals.reference.get(o.metric, math.nan) for o in objectives)
        costs = [-worst if o.maximize else worst for o, worst in zip(objectives, known, strict=True)]
        highest = np.where(np.isfinite(costs), costs, math.inf)
        said = np.zeros(len(self._goals.constraints), dtype=bool)
        for j, constraint in enumerate(self._goals.constraints):
            for i, objective in enumerate(objectives):
                if objective.metric == constraint.metric and objective.maximize != constraint.upper:
                    limit = self._limit(constraint)
                    highest[i] = min(highest[i], limit if constraint.upper else -limit)
                    said[j] = True
        return highest, said

    def state(self) -> dict[str, Any]:
        """Plain JSON."""
        return {name: asdict(observed) for name, observed in self.trials.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.trials = {name: Observed(**_copied(saved)) for name, saved in state.items()}
        self.ended = sum(observed.outcome is not None for observed in self.trials.values())

    def _targets(self, trials: list[Observed], finished: Mask) -> tuple[Vector, Vector]:
        """Costs and margins of all trials, and their variances, each of shape (n, m + c)."""
        columns = [self._metric(o.metric, trials, finished) for o in self._goals.objectives]
        signs = [-1.0 if o.maximize else 1.0 for o in self._goals.objectives]
        targets = [sign * estimate for sign, (estimate, _) in zip(signs, columns, strict=True)]
        variances = [variance for _, variance in columns]
        for constraint in self._goals.constraints:
            estimate, variance = self._metric(constraint.metric, trials, finished)
            limit = self._limit(constraint)
            size = abs(limit) or 1.0
            targets.append((estimate - limit) / size * (1 if constraint.upper else -1))
            variances.append(variance / size**2)
        return np.column_stack(targets), np.column_stack(variances)

    def _metric(self, metric: str, trials: list[Observed], finished: Mask) -> tuple[Vector, Vector]:
        """The final value of a metric and its variance by trial; of a static one whatever was reported."""
        values = np.array([t.values.get(metric, math.nan) for t in trials], dtype=np.float64)
        values[~(np.abs(values) < _LARGEST)] = np.nan
        if self._is_known_early(metric):
            return values, np.zeros(len(values))
        finals = np.where(finished, values, np.nan)
        errors = np.array([t.values.get(f"{ERROR}{metric}", 0.0) for t in trials], dtype=np.float64)
        noise = np.where(np.isfinite(errors) & (errors < _LARGEST), errors, 0.0) ** 2
        if np.isfinite(finals).any() and not np.isfinite(finals).all():
            estimates, variances = final_values([_finite(t.stages.get(metric, {})) for t in trials], finals)
            return estimates, variances + noise
        return finals, noise

    def _limit(self, constraint: Constraint) -> float:
        """The limit at the last step; a huge one where the parent's figure is not known, so it is kept."""
        steps = [s for s, values in self._goals.parent.items() if constraint.metric in values]
        parent = self._goals.parent[max(steps)][constraint.metric] if steps else math.nan
        limit = constraint.limit(parent)
        return limit if math.isfinite(limit) else math.copysign(1e12, 1 if constraint.upper else -1)


def front_of(evidence: Evidence, objectives: int) -> Mask:
    """Which rows are finished, feasible and not dominated by such, shape (n,)."""
    violations = np.where(evidence.finished, evidence.violations, np.inf)
    return non_dominated(evidence.targets[:, :objectives], violations)


def _finite(history: Mapping[str, float]) -> dict[str, float]:
    return {stage: value for stage, value in history.items() if abs(value) < _LARGEST}


def _copied(saved: Mapping[str, Any]) -> dict[str, Any]:
    stages = {metric: dict(history) for metric, history in saved["stages"].items()}
    return {**saved, "values": dict(saved["values"]), "stages": stages}
