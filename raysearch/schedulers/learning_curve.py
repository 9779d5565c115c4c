"""Stopping by extrapolated learning curves: a trial goes on while its likely end is worth its steps.

References:
    Swersky, K., Snoek, J., & Adams, R. P. (2014). Freeze-thaw Bayesian optimization. (pausing, and going on)
    Gittins, J. C. (1979). Bandit processes and dynamic allocation indices. (gain per step as an index)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from raysearch.objectives import Goals, is_static
from raysearch.schedulers.base import Decision, Outcome
from raysearch.schedulers.curves import OVER, PAUSED, RUNNING, Curves
from raysearch.schedulers.expectations import Expectations
from raysearch.schedulers.extrapolation import Floats, Integers, grid
from raysearch.schedulers.successive_halving import Form

_OUTCOMES = 16  # equally likely ends of a trial that are weighed
_NORMAL = NormalDist()
_NORMALS = np.array([_NORMAL.inv_cdf((i + 0.5) / _OUTCOMES) for i in range(_OUTCOMES)])
_CAUTIOUS = np.array([_NORMAL.inv_cdf(0.75)])  # what a paused trial is taken to reach: three times in four
_MEDIAN = np.zeros(1)
_FIRST = 2  # a curve has a direction from its second point on
_REFIT = 1.1  # the model is fitted anew when there are a tenth more reports
_REWEIGHED = 256  # paused trials that are valued anew then
_LARGEST = 1e100  # costs beyond are taken for this, so that no square overflows


class LearningCurveStopping:
    """Lets a trial go on while the hypervolume it may still add, per step, is worth more than a new trial's.

    Each trial's learning curve is extrapolated to ``max_step``, with its uncertainty, from the curves of all
    others (see ``extrapolation``). Metrics that do not change with training are known: latency, size, and any
    that no trial was ever seen to change. The trial's index is the highest ratio of expected hypervolume
    gain to expected steps that stopping again early may reach. What a new trial brings per step is learned
    from the trials so far: by exchangeability it adds what each of them alone adds to the front, divided by
    their number. In this comparison others count with what they are expected to reach.

    In the form "stop" a trial whose index is below that of a new one is stopped. In the form "promote" it is
    paused when a new one or another paused one is worth more, and goes on when it is itself worth most.

    A trial that is better than all others so far in every objective is never stopped. Infeasible ones add
    nothing. One that reports NaN or an infinitely bad cost is stopped; while an objective is not reported
    yet, it goes on.

    Args:
        goals: objectives and constraints.
        max_step: the last step at which a trial may be stopped (epochs).
        grace: the first step at which one may be, 1 <= grace <= max_step; never before the second.
        form: "stop" or "promote".

    Raises:
        ValueError: grace or form is out of range.
    """

    def __init__(self, goals: Goals, *, max_step: int, grace: int = 1, form: Form = "stop") -> None:
        if not 1 <= grace <= max_step:
            raise ValueError(f"grace is {grace}: the first step must lie between 1 and max_step {max_step}")
        if form not in ("stop", "promote"):
            raise ValueError(f'form is {form!r}: give "stop" or "promote"')
        self._goals, self._max_step, self._form = goals, max_step, form
        self._first = max(grace, _FIRST)
        self._curves = Curves(grid(max_step), len(goals.metrics))
        self._live: dict[str, dict[str, Any]] = {}
        self._trained = [False] * len(goals.metrics)
        self._model = Expectations(len(goals.metrics))
        self._reports = self._fitted_at = 0
        self._queue: list[tuple[float, int]] = []  # paused trials by falling index, negated
        rng = np.random.default_rng(0)
        self._normals = [_NORMALS, *(rng.permutation(_NORMALS) for _ in goals.metrics[1:])]

    def decide(self, trial: str, step: int, values: Mapping[str, float]) -> Decision:
        """STOP, or PAUSE, a trial that is worth less than another use of the next steps, else CONTINUE."""
        live = self._live.setdefault(trial, {"step": -1, "values": {}})
        if step <= live["step"]:
            return Decision.CONTINUE
        live["step"] = step
        live["values"].update(values)
        if not 1 <= step <= self._max_step:
            return Decision.CONTINUE
        reported = [live["values"][m] for m in self._goals.metrics if m in live["values"]]
        costs = self._goals.costs(live["values"])
        if any(math.isnan(value) for value in reported) or (costs == np.inf).any():
            return Decision.STOP if step >= self._first and step < self._max_step else Decision.CONTINUE
        if not np.isfinite(costs).all():  # unknown, or better than any
            return Decision.CONTINUE
        return self._judge(trial, step, np.clip(costs, -_LARGEST, _LARGEST), live["values"])

    def promote(self) -> str | None:
        """The paused trial that is worth most per step, if that is more than a new trial's worth."""
        found = self._best_paused(self._model.fresh)
        if found is None:
            return None
        self._curves.fate[found[1]] = RUNNING
        return self._curves.names[found[1]]

    def end(self, trial: str, outcome: Outcome) -> None:
        """The trial's curve stays; what is known of its other metrics is forgotten."""
        self._live.pop(trial, None)
        row = self._curves.rows.get(trial)
        if row is not None:
            self._curves.fate[row] = OVER

    def state(self) -> dict[str, Any]:
        """All curves, the model as it was last fitted, and the latest values of trials that are not over."""
        return {
            "max_step": self._max_step,
            "curves": self._curves.state(),
            "live": {t: {"step": p["step"], "values": dict(p["values"])} for t, p in self._live.items()},
            "trained": list(self._trained),
            "model": self._model.state(),
            "reports": self._reports,
            "fitted_at": self._fitted_at,
            "queue": [[value, row] for value, row in self._queue],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a scheduler with the same last step.

        Raises:
            ValueError: the last steps differ.
        """
        if state["max_step"] != self._max_step:
            raise ValueError(f"state has max_step {state['max_step']}, this scheduler {self._max_step}")
        self._curves.load(state["curves"])
        self._live = {t: {"step": p["step"], "values": dict(p["values"])} for t, p in state["live"].items()}
        self._trained = list(state["trained"])
        self._model.load(state["model"])
        self._reports, self._fitted_at = state["reports"], state["fitted_at"]
        self._queue = [(value, row) for value, row in state["queue"]]

    def _judge(self, trial: str, step: int, costs: Floats, values: Mapping[str, float]) -> Decision:
        row = self._curves.rows.get(trial)
        if row is not None:
            changed = costs != self._curves.best[row]
            self._trained = [
                known or (bool(now) and not is_static(metric))
                for known, now, metric in zip(self._trained, changed, self._goals.metrics, strict=True)
            ]
        feasible = self._goals.violation(values, step) <= 0
        row = self._curves.take(trial, step, costs, feasible)
        self._reports += 1
        if self._reports >= self._fitted_at * _REFIT:
            self._refit()
        else:
            self._model.place(row, self._expected(np.array([row]))[0] if feasible else None)
        if not self._first <= step < self._max_step:
            return Decision.CONTINUE
        if self._form == "stop" and feasible and self._leads(row):
            return Decision.CONTINUE
        own = self._worth(np.array([row]))[0]
        if own >= self._model.fresh and self._best_paused(own) is None:
            return Decision.CONTINUE
        if self._form == "stop":
            return Decision.STOP
        self._curves.fate[row] = PAUSED
        heapq.heappush(self._queue, (-float(own), row))
        return Decision.PAUSE

    def _refit(self) -> None:
        """Learn from all reports so far: the curves, the front to come, what a new trial is worth."""
        curves, self._fitted_at = self._curves, self._reports
        self._model.fit(curves, self._trained)
        feasible = np.flatnonzero(curves.feasible)
        self._model.place_all(feasible, self._expected(feasible))
        waiting = sorted(entry for entry in self._queue if self._waits(entry[1]))
        rows = np.array([row for _, row in waiting[:_REWEIGHED]], dtype=np.intp)
        worth = zip((-self._worth(rows)).tolist(), rows.tolist(), strict=True)
        self._queue = [*worth, *waiting[_REWEIGHED:]]
        heapq.heapify(self._queue)

    def _expected(self, rows: Integers) -> Floats:
        """The costs with which trials count for others, shape (q, m)."""
        curves, expected = self._curves, self._curves.best[rows].copy()
        for fate, normal in ((RUNNING, _MEDIAN), (PAUSED, _CAUTIOUS)):
            some = curves.fate[rows] == fate
            if some.any():
                ends = self._model.finals(curves, rows[some], [normal] * expected.shape[1])
                expected[some] = ends[:, 0]
        return expected

    def _worth(self, rows: Integers) -> Floats:
        """The index of some trials: hypervolume per step, shape (q,)."""
        curves, worth = self._curves, np.zeros(len(rows))
        ends = self._model.finals(curves, rows, self._normals)
        for i, row in enumerate(rows):
            if curves.feasible[row]:
                worth[i] = self._model.rate(ends[i], int(row), int(curves.step[row]), self._max_step)
        return worth

    def _leads(self, row: int) -> bool:
        """Whether the trial is at least as good as all others so far in every objective."""
        curves = self._curves
        return bool((curves.best[row] <= curves.best[curves.feasible]).all())

    def _waits(self, row: int) -> bool:
        return bool(self._curves.fate[row] == PAUSED)

    def _best_paused(self, bar: float) -> tuple[float, int] | None:
        """The paused trial with the highest index, if that is above the bar: the index and its row.

        Between two fits an index hardly ever rises, as the front only grows: what was the highest is
        computed again until it stays so, or until the bar is higher.
        """
        while self._queue and -self._queue[0][0] > bar:
            stale, row = self._queue[0]
            if not self._waits(row):
                heapq.heappop(self._queue)
                continue
            value = float(self._worth(np.array([row]))[0])
            heapq.heapreplace(self._queue, (-value, row))
            if value > bar and (value >= -stale or self._queue[0][1] == row):
                return value, row
        return None
