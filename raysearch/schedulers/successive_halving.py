"""Asynchronous successive halving over several objectives and constraints, by stopping or by pausing.

References:
    Li, L., Jamieson, K., DeSalvo, G., Rostamizadeh, A., & Talwalkar, A. (2018). Hyperband: a novel
        bandit-based approach to hyperparameter optimization. (brackets)
    Li, L., Jamieson, K., Rostamizadeh, A., Gonina, E., Hardt, M., Recht, B., & Talwalkar, A. (2020). A
        system for massively parallel hyperparameter tuning. (ASHA)
    Schmucker, R., Donini, M., Zafar, M. B., Salinas, D., & Archambeau, C. (2021). Multi-objective
        asynchronous successive halving. (ranks by non-dominated sorting and epsilon net)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from raysearch.basics.failures import UserError
from raysearch.objectives import Goals
from raysearch.pareto import FrontOrder, check_order
from raysearch.schedulers.base import Decision, Outcome
from raysearch.schedulers.rung import Rung

Form = Literal["stop", "promote"]


class SuccessiveHalving:
    """Lets a trial pass a rung if it is among the best 1/eta of those that reached it so far.

    Of more than 10,000 that reached it, the latest 10,000 are compared.

    Rungs stand at the steps grace, grace * eta, grace * eta**2, ... below ``max_step``. A trial meets the
    highest rung at or below its step, once; it is judged there by the latest value of each metric, with
    itself in the comparison, so a newcomer that dominates all others always passes. With one objective and
    no constraint this is ASHA. An objective not reported yet counts as the worst; one reported as NaN stops
    the trial.

    In the form "stop" a trial that does not pass is stopped. In the form "promote" it is paused, and goes on
    if later it belongs to the best 1/eta after all: ``promote`` gives the best such trial of the highest
    rung that has one.

    With ``resource`` the rungs stand at values of that metric, and grace and ``max_step`` are in its unit,
    fractions allowed. Only a report that holds the metric is judged, so an exported model's, which costs none
    of it, never is.

    Args:
        goals: objectives and constraints.
        max_step: the last step at which a trial may be stopped (epochs).
        eta: one in ``eta`` passes a rung; > 1.
        grace: the first rung, 1 <= grace <= max_step (0 < grace with a resource of your own).
        form: "stop" or "promote".
        brackets: how many sets of rungs trials are dealt to, as they come, in Hyperband's proportions; the
            first rung of bracket b is grace * eta**b, and its trials are compared with each other only.
        resource: the metric at whose values the rungs stand, such as "seconds"; None for the step.
        order: what counts inside a front: "epsilon_net" or "hypervolume" (the contribution to it).

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        goals: Goals,
        *,
        max_step: float,
        eta: float = 3,
        grace: float = 1,
        form: Form = "stop",
        brackets: int = 1,
        resource: str | None = None,
        order: FrontOrder = "epsilon_net",
    ) -> None:
        _check(max_step, eta, grace, form, resource)
        check_order(order)
        levels = _levels(grace, eta, max_step, whole=resource is None)
        if not 1 <= brackets <= len(levels) + 1:
            raise UserError(
                f"brackets is {brackets}: between grace {grace} and max_step {max_step} there are "
                f"{len(levels)} rungs, give 1 to {len(levels) + 1} brackets"
            )
        self._goals, self._max_step, self._eta = goals, max_step, eta
        self._form, self._resource = form, resource
        self._brackets = [[Rung(at, len(goals.metrics), order) for at in levels[b:]] for b in range(brackets)]
        self._rungs = [rung for bracket in self._brackets for rung in bracket]
        self._highest_first = sorted(self._rungs, key=lambda rung: rung.at, reverse=True)
        # A bracket with s rungs gets trials in proportion to eta**s / (s + 1).
        weights = [eta ** len(bracket) / (len(bracket) + 1) for bracket in self._brackets]
        self._shares = [weight / sum(weights) for weight in weights]
        self._dealt = [0] * brackets
        self._live: dict[str, _Progress] = {}
        self._waiting: dict[str, Rung] = {}

    def decide(
        self, trial: str, step: int, values: Mapping[str, float], given: Decision | None = None
    ) -> Decision:
        """STOP, or PAUSE, a trial that meets a rung and is not among its best, else CONTINUE."""
        progress = self._live.get(trial) or self._begin(trial)
        if step <= progress.step:
            return Decision.CONTINUE
        self._release(trial)  # it was promoted, or goes on by somebody else's will
        progress.step = step
        progress.values.update(values)
        rung = self._rung_met(trial, progress.bracket, step, values)
        if rung is None:
            return given or Decision.CONTINUE
        known = [progress.values[m] for m in self._goals.metrics if m in progress.values]
        if any(math.isnan(value) for value in known):
            return given or Decision.STOP
        if not known:
            return given or Decision.CONTINUE
        rung.add(trial, self._goals.costs(progress.values), self._goals.violation(progress.values, step))
        decision = given or self._judged(rung)
        if decision is Decision.PAUSE:
            rung.hold(trial)
            self._waiting[trial] = rung
        return decision

    def promote(self, given: str | None = None) -> str | None:
        """The best paused trial, of the highest rung, that by now is among the best 1/eta of its rung."""
        if given is not None:
            self._release(given)
            return given
        for rung in self._highest_first:
            trial = rung.promote(self._eta)
            if trial is not None:
                del self._waiting[trial]
                return trial
        return None

    def end(self, trial: str, outcome: Outcome) -> None:
        """Forget the trial's progress; what it showed at the rungs stays."""
        self._live.pop(trial, None)
        self._release(trial)

    def state(self) -> dict[str, Any]:
        """The rungs, how many trials each bracket got, and the progress of the running and paused trials."""
        return {
            "rungs": [rung.state() for rung in self._rungs],
            "dealt": list(self._dealt),
            "live": {
                trial: {"step": p.step, "values": dict(p.values), "bracket": p.bracket}
                for trial, p in self._live.items()
            },
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a scheduler with the same rungs.

        Raises:
            ValueError: the rungs differ.
        """
        own, given = [rung.at for rung in self._rungs], [rung["at"] for rung in state["rungs"]]
        if own != given or len(self._dealt) != len(state["dealt"]):
            raise ValueError(
                f"state has rungs at {given}, this scheduler at {own}: use the same max_step, eta, grace "
                f"and brackets"
            )
        self._waiting = {}
        for rung, saved in zip(self._rungs, state["rungs"], strict=True):
            rung.load(saved)
            self._waiting.update(dict.fromkeys(saved["waiting"], rung))
        self._dealt = list(state["dealt"])
        self._live = {
            trial: _Progress(p["bracket"], p["step"], dict(p["values"])) for trial, p in state["live"].items()
        }

    def _begin(self, trial: str) -> _Progress:
        """Deal a new trial to the bracket that is farthest behind its share."""
        count = sum(self._dealt) + 1
        behind = [share * count - dealt for share, dealt in zip(self._shares, self._dealt, strict=True)]
        bracket = behind.index(max(behind))
        self._dealt[bracket] += 1
        self._live[trial] = _Progress(bracket)
        return self._live[trial]

    def _judged(self, rung: Rung) -> Decision:
        """The decision on the trial that met the rung last."""
        if rung.newest_passes(self._eta):
            return Decision.CONTINUE
        return Decision.STOP if self._form == "stop" else Decision.PAUSE

    def _release(self, trial: str) -> None:
        rung = self._waiting.pop(trial, None)
        if rung is not None:
            rung.release(trial)

    def _rung_met(self, trial: str, bracket: int, step: int, values: Mapping[str, float]) -> Rung | None:
        """The highest rung that the report reaches, if the trial met neither it nor a higher one before."""
        at = step if self._resource is None else values.get(self._resource, math.nan)
        if not at <= self._max_step:
            return None
        rungs = self._brackets[bracket]
        reached = sum(rung.at <= at for rung in rungs)
        if not reached or any(trial in rung.trials for rung in rungs[reached - 1 :]):
            return None
        return rungs[reached - 1]


@dataclass
class _Progress:
    """A trial's bracket, how far it is, and the latest value of each metric it reported."""

    bracket: int
    step: int = -1
    values: dict[str, float] = field(default_factory=dict)


def _check(max_step: float, eta: float, grace: float, form: str, resource: str | None) -> None:
    if not 1 < eta < math.inf:
        raise UserError(f"eta is {eta}: one in eta trials passes a rung, give a number above 1 such as 3")
    if form not in ("stop", "promote"):
        raise UserError(f"form is {form!r}: 'stop' ends a trial at a rung, 'promote' pauses it there")
    if resource is None and not 1 <= grace <= max_step:
        raise UserError(f"grace is {grace}: the first rung must lie between 1 and max_step {max_step}")
    if not 0 < grace <= max_step < math.inf:
        raise UserError(f"grace is {grace}: the first rung must lie above 0 and up to max_step {max_step}")


def _levels(grace: float, eta: float, max_step: float, *, whole: bool) -> list[float]:
    """grace, grace * eta, ... below max_step without repetition; as whole steps where asked."""
    levels: list[float] = []
    level = float(grace)
    while (at := round(level) if whole else level) < max_step:
        if at not in levels:
            levels.append(at)
        level *= eta
    return levels
