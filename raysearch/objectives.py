"""What a study optimises and what it must respect: objectives, constraints, costs and violations.

Every algorithm sees a trial as a vector of costs (all minimised) and one violation (0 when feasible).

A metric is *static* when it does not depend on the weights' values (latency, size, MACs, memory): it is
known before the first epoch and counts in full at every step. Any other metric is *trained*: relative to
the parent it is compared with the parent's value at the same step (see ``record.scores``); an absolute limit
on it counts only from the last step on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.metrics import EXIT_SHARE, MEAN_LATENCY, OWN, SHARE, base, find, is_static

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_METRIC = r"[A-Za-z_][\w./:\-]*"
_OBJECTIVE = re.compile(rf"(minimi[sz]e|maximi[sz]e)\s+({_METRIC})")
_CONSTRAINT = re.compile(rf"({_METRIC})\s*(<=|>=)\s*(.+)")
_RELATIVE = re.compile(
    rf"(?:(?P<factor>{_NUMBER})\s*\*?\s*)?parent(?:\s*(?P<sign>[-+])\s*(?P<offset>{_NUMBER}))?"
)


@dataclass(frozen=True)
class Objective:
    """One metric to minimise or maximise."""

    metric: str
    maximize: bool

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read "maximize accuracy" or "minimize latency_ms/onnxruntime-cpu".

        Raises:
            ValueError: the text has another form.
        """
        match = _OBJECTIVE.fullmatch(text.strip())
        if match is None:
            raise UserError(f'objective "{text}" is not "maximize METRIC" or "minimize METRIC"')
        return cls(metric=match[2], maximize=match[1].startswith("max"))

    def __str__(self) -> str:
        return f"{'maximize' if self.maximize else 'minimize'} {self.metric}"


@dataclass(frozen=True)
class Constraint:
    """A limit on a metric: ``metric <= factor * parent + offset`` (or ``>=``); factor 0 makes it absolute."""

    metric: str
    upper: bool
    offset: float
    factor: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read "accuracy >= 0.9", "accuracy >= parent - 0.02" or "latency_ms/cpu <= 0.5 parent".

        Raises:
            ValueError: the text has another form.
        """
        match = _CONSTRAINT.fullmatch(text.strip())
        limit = match[3].strip() if match else ""
        if match and re.fullmatch(_NUMBER, limit):
            return cls(match[1], match[2] == "<=", float(limit))
        relative = _RELATIVE.fullmatch(limit)
        if match is None or relative is None:
            raise UserError(
                f'constraint "{text}" is not "METRIC <= NUMBER", "METRIC >= parent - NUMBER" '
                f'or "METRIC <= NUMBER parent"'
            )
        offset = float(relative["offset"] or 0) * (-1 if relative["sign"] == "-" else 1)
        return cls(match[1], match[2] == "<=", offset, float(relative["factor"] or 1))

    def __post_init__(self) -> None:
        if not (math.isfinite(self.offset) and math.isfinite(self.factor)):
            raise UserError(f'constraint "{self}" has a limit that is not finite: give a plain number')

    def check_possible(self) -> None:
        """Refuse a limit that no value keeps, of a metric whose range is known.

        Raises:
            UserError: it lies below 0, or a share's above 1.
        """
        known = OWN.get(base(self.metric))
        if known and self.upper and self.offset <= 0 and self.factor <= 0 and self.offset + self.factor < 0:
            raise UserError(f'constraint "{self}" can never be kept: {known.name} is never below 0')
        if known and known.unit == SHARE and not self.upper and not self.relative and self.offset > 1:
            raise UserError(f'constraint "{self}" can never be kept: {known.name} is never above 1')

    def contradicts(self, above: Constraint) -> bool:
        """Whether no value keeps both this upper limit and a lower one, whatever the parent's figure is."""
        if self.metric != above.metric:
            return False
        if self.factor == above.factor:
            return above.offset > self.offset
        positive = base(self.metric) in OWN  # so is the parent's figure
        return positive and above.factor > self.factor and above.offset >= self.offset

    @property
    def relative(self) -> bool:
        """Whether the limit is read from the parent's figure."""
        return self.factor != 0

    def limit(self, parent: float = math.nan) -> float:
        """The limit in the metric's unit, given the parent's figure (NaN where that is unknown)."""
        return self.offset + (self.factor * parent if self.relative else 0.0)

    def violation(self, value: float, parent: float = math.nan) -> float:
        """How far ``value`` misses the limit, divided by the limit's size; 0 when it is kept.

        A NaN value is infinitely far. A limit that is not finite (no figure of the parent) is always kept.
        """
        limit = self.limit(parent)
        if not math.isfinite(limit):
            return 0.0
        if math.isnan(value):
            return math.inf
        return max(0.0, self.miss(value, parent))

    def miss(self, value: float, parent: float = math.nan) -> float:
        """How far ``value`` lies beyond the limit, divided by the limit's size; negative within it.

        NaN where the value or the limit is not known.
        """
        limit = self.limit(parent)
        return (value - limit if self.upper else limit - value) / (abs(limit) or 1.0)

    def __str__(self) -> str:
        parts = [f"{_exact(self.factor)} parent" if self.factor != 1.0 else "parent"] if self.relative else []
        if self.offset or not parts:
            sign = ("+ " if self.offset > 0 else "- ") if parts else ("-" if self.offset < 0 else "")
            parts.append(f"{sign}{_exact(abs(self.offset))}")
        return f"{self.metric} {'<=' if self.upper else '>='} {' '.join(parts)}"


@dataclass(frozen=True)
class Goals:
    """The objectives and constraints of a study, with what is needed to read a trial's values at any step.

    Args:
        objectives: at least one, each on its own metric.
        constraints: any number.
        last_step: the step at which a trial is complete (E + 1 for E epochs); absolute limits on trained
            metrics count from there.
        parent: the parent's values at each step it reported, for relative limits.
        reference: the worst figure that counts, by objective's metric: a trial that is no better than that in
            every objective adds nothing to the hypervolume. Empty where none is known.

    Raises:
        UserError: no objective, two on the same metric, constraints that contradict each other, or one that
            no value keeps.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    last_step: int = 1
    parent: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        metrics = self.metrics
        if not metrics:
            raise UserError("objectives is empty: give at least one, such as 'maximize accuracy'")
        twice = sorted({m for m in metrics if metrics.count(m) > 1})
        if twice:
            raise UserError(f"objectives name {twice[0]!r} twice: each metric may be optimised once")
        for constraint in self.constraints:
            constraint.check_possible()
        for below, above in product(self.constraints, repeat=2):
            if below.upper and not above.upper and below.contradicts(above):
                raise UserError(f'constraints "{below}" and "{above}" cannot both be kept: give one of them')

    @classmethod
    def parse(
        cls,
        objectives: Iterable[str],
        constraints: Iterable[str] = (),
        last_step: int = 1,
        parent: Mapping[int, Mapping[str, float]] | None = None,
    ) -> Goals:
        """Build goals from the strings of a study file."""
        return cls(
            tuple(Objective.parse(o) for o in objectives),
            tuple(Constraint.parse(c) for c in constraints),
            last_step,
            parent or {},
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The objectives' metrics, in order."""
        return tuple(o.metric for o in self.objectives)

    def check_reported(self, known: Iterable[str], of_finalists: Iterable[str] = ()) -> None:
        """Refuse goals that no trial could ever report.

        Args:
            known: the keys that trials report; see ``raysearch.metrics.reported``.
            of_finalists: those that are measured only when the search is over.

        Raises:
            UserError: a metric is unknown, or its target is, or the target says nothing of it.
        """
        known, late = list(known), set(of_finalists)
        said: dict[str, list[str]] = {}
        for key in known:
            if is_static(key) and "/" in key:
                said.setdefault(key.partition("/")[2], []).append(key.partition("/")[0])
        for kind, goals in (("objective", self.objectives), ("constraint", self.constraints)):
            for goal in goals:
                if goal.metric in known:
                    continue
                name, _, target = goal.metric.partition("/")
                if goal.metric in late:
                    raise UserError(
                        f'{kind} "{goal}": {target} compiles a model for so long that it is measured on '
                        f"finalists only: search by another target, such as torch-cpu, and read its figures "
                        f"in the report"
                    )
                if name in (MEAN_LATENCY, EXIT_SHARE) and EXIT_SHARE not in known:
                    raise UserError(
                        f'{kind} "{goal}" is of networks that may be left early, and none of this space may: '
                        f'give its architecture exits, such as resnet(exits=("none", "after_stage_1")), or '
                        f"use latency_ms instead"
                    )
                if name == "energy_mj":
                    raise UserError(
                        f'{kind} "{goal}" needs an energy meter and none is readable on these targets: '
                        f"give the target one, as in {{runtime: onnxruntime-cpu, meter: rapl}} (nvml, rapl "
                        f"or a command), or use latency_ms or macs instead"
                    )
                if name in OWN and OWN[name].per_target and target in said:
                    raise UserError(
                        f'{kind} "{goal}": {target} says nothing of {name}, only of {", ".join(said[target])}'
                    )
                if goal.metric not in known:
                    raise UserError(
                        f'{kind} "{goal}" is on a metric that nothing reports; '
                        f"{did_you_mean(goal.metric, known)}"
                    )

    def higher_is_better(self, key: str) -> bool | None:
        """Whether more of a metric is better: by the objectives, else the constraints, else what it is.

        What holds for a metric holds for it on every target and on the test split. None: nothing says.
        """
        said = [(o.metric, o.maximize) for o in self.objectives]
        said += [(c.metric, not c.upper) for c in self.constraints]
        found = [higher for metric, higher in said if base(metric) == base(key)]
        return found[0] if found else find(key).higher_is_better

    def costs(self, values: Mapping[str, float]) -> NDArray[np.float64]:
        """The objectives as costs to minimise, shape (m,); NaN where a metric is absent."""
        signs = [-1.0 if o.maximize else 1.0 for o in self.objectives]
        return np.array(
            [s * float(values.get(m, math.nan)) for s, m in zip(signs, self.metrics, strict=True)]
        )

    def violation(self, values: Mapping[str, float], step: int) -> float:
        """The sum of the violations that count at this step: 0 is feasible.

        A metric that is NaN, or that is still absent at the last step, is infinitely far from its limit.
        """
        return sum((self._one(c, values, step) for c in self.constraints), 0.0)

    def misses(self, values: Mapping[str, float], step: int) -> NDArray[np.float64]:
        """How far each constraint is missed, shape (c,): negative where kept, NaN where unknown."""
        return np.array(
            [
                c.miss(float(values.get(c.metric, math.nan)), self._parent(c.metric, step))
                for c in self.constraints
            ]
        )

    def limits(self, step: int) -> NDArray[np.float64]:
        """The limit of each constraint at a step, in its metric's unit, shape (c,); NaN while unknown."""
        return np.array([c.limit(self._parent(c.metric, step)) for c in self.constraints])

    def _one(self, constraint: Constraint, values: Mapping[str, float], step: int) -> float:
        metric = constraint.metric
        # Before the last step an absent metric is unknown, not bad, and an absolute limit on a trained one is
        # not due.
        if step < self.last_step and (metric not in values or not (is_static(metric) or constraint.relative)):
            return 0.0
        return constraint.violation(float(values.get(metric, math.nan)), self._parent(metric, step))

    def _parent(self, metric: str, step: int) -> float:
        """The parent's figure at this step, else at the last before it that has one, else at the first."""
        known = sorted(s for s, values in self.parent.items() if metric in values)
        if not known:
            return math.nan
        earlier = [s for s in known if s <= step]
        return float(self.parent[earlier[-1] if earlier else known[0]][metric])


def _exact(number: float) -> str:
    """The shortest text that reads back as the same number."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)
