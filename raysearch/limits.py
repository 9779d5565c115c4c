"""Other limits for a run that has begun: whether what it has done can be ranked by them.

Objectives, constraints and targets may change between two sessions, as far as nothing has to run again for
that: a figure of each trial that finished is known, or can be measured from what is kept of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raysearch import backends
from raysearch.backends import Spec
from raysearch.backends.base import Backend, in_integers_alone
from raysearch.basics.failures import UserError
from raysearch.objectives import Constraint, Goals, Objective
from raysearch.record.run_record import LIMITS, RunRecord
from raysearch.runs.conditions import check_named_once
from raysearch.runs.session import Work

_SHOWN = 3  # names of trials in a sentence
_BEGIN = "begin another run for it"


def changed_work(
    record: RunRecord, limits: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Work]
) -> tuple[Work, dict[str, Any]]:
    """The work of a run that has begun, under other limits.

    Args:
        record: the run.
        limits: of "objectives", "constraints" and "targets", what is asked for; empty: those that hold.
        make: the work that a described study is.

    Returns:
        The work, and the limits as the journal says them, empty where they are those that hold.

    Raises:
        UserError: as ``changed_study`` and ``check_change``, or something asked for is none.
    """
    described = _without_given_up(record, limits)
    before = make(described)
    if not limits:
        return before, {}
    after = make(changed_study(described, limits))
    changed = check_change(record, before, after)
    if described is not record.header["study"]:
        changed = {name: after.described[name] for name in LIMITS}
    return after, changed


def changed_study(study: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """A described study with other limits; of targets those that it has come first, as they stand.

    Raises:
        UserError: a target of the study is left out, has other options, or is given twice.
    """
    changed = {**study, **limits}
    given = limits.get("targets")
    if isinstance(given, list) and given:
        changed["targets"] = _joined(study["targets"], given)
    return changed


def _without_given_up(record: RunRecord, limits: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's study as it was before targets came that other limits leave out, and that gave no figure.

    So a device that is gone, or on which the parent does not run, does not hold up the run for ever.
    """
    study: Mapping[str, Any] = record.header["study"]
    given = limits.get("targets")
    if not isinstance(given, list):
        return study
    left_out = {*record.later_targets} - {backends.get(target).name for target in given}
    known = {key.partition("/")[2] for trial in record.trials.values() for key in trial.values}
    if not left_out & known:
        for change in record.changes:
            if left_out.intersection(change.targets):
                return {**study, **change.before}
    return study


def check_change(record: RunRecord, before: Work, after: Work) -> dict[str, Any]:
    """The limits as the journal says them, where they are others than those that hold.

    Args:
        record: the run.
        before: its work.
        after: the same with the limits asked for, on metrics that are known and targets that are there.

    Returns:
        "objectives", "constraints" and "targets", each whole; empty where they are those that hold.

    Raises:
        UserError: trials lack a figure that would be needed, the networks of a target that comes would be
            others, or nothing says any more which way a metric of the task is better.
    """
    if all(before.described[name] == after.described[name] for name in LIMITS):
        return {}
    known = {target.name for target in before.conditions.targets}
    for target in after.conditions.targets:
        if target.name not in known:
            _check_target(before, target)
    later = {*record.later_targets, *(t.name for t in after.conditions.targets if t.name not in known)}
    _check_figures(record, after.goals, later)
    _check_directions(before, after)
    return {name: after.described[name] for name in LIMITS}


def _joined(targets: Sequence[Spec], given: Sequence[Spec]) -> list[Spec]:
    """The targets of a study, then those that are given besides."""
    own = {backends.get(target).name: target for target in targets}
    asked = [backends.get(target) for target in given]
    check_named_once(asked)
    for name, target in own.items():
        same = next((backend for backend in asked if backend.name == name), None)
        if same is None:
            raise UserError(
                f"targets leaves out {name}, on which networks of the run were measured: targets may be "
                "added, and one that came later may go again while it has given no figure"
            )
        if backends.spec_of(same) != backends.spec_of(backends.get(target)):
            raise UserError(
                f"targets has other options for {name} than the run: give what is added a name of its own"
            )
    return [*targets, *(backends.spec_of(backend) for backend in asked if backend.name not in own)]


def _check_target(before: Work, target: Backend) -> None:
    """Refuse a target for which the trials would have been trained otherwise, or that has no parent."""
    forms = {"uint8", *(known.form for known in before.conditions.targets)}
    name = target.name
    if before.space.exits:
        raise UserError(
            f"target {name} comes later, and early exits are measured when a trial ends: {_BEGIN}"
        )
    if in_integers_alone(target):
        raise UserError(f"target {name} says nothing of networks in float, such as the parent: {_BEGIN}")
    if target.form == "litert" and "litert" not in forms:
        raise UserError(
            f"target {name} wants what every layer gives rounded, and the trials were trained without: "
            f"{_BEGIN}"
        )
    if target.form == "int8" and "int8" not in forms:
        raise UserError(
            f"target {name} wants activations in signed integers, and the trials were trained with unsigned "
            f"ones: {_BEGIN}"
        )


def _check_figures(record: RunRecord, goals: Goals, later: set[str]) -> None:
    """Refuse a goal on a metric that a trial which finished has not reported, and nothing can measure now."""
    finished = [t for t in record.trials.values() if t.outcome == "finished" and t.role == "trial"]
    parent = [record.parent] if record.parent and record.parent.outcome == "finished" else []
    asked: list[tuple[str, Objective | Constraint]] = [
        *(("objective", o) for o in goals.objectives),
        *(("constraint", c) for c in goals.constraints),
    ]
    for kind, goal in asked:
        if goal.metric.partition("/")[2] in later:
            continue
        lacking = [t.name for t in (*parent, *finished) if goal.metric not in t.searched_values]
        if lacking:
            more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
            raise UserError(
                f'{kind} "{goal}" is on a metric that {", ".join(lacking[:_SHOWN])}{more} finished without: '
                f"{_BEGIN}"
            )


def _check_directions(before: Work, after: Work) -> None:
    """Refuse goals by which a metric of the task would be better the other way, or neither way.

    The parent was trained until it was done by what was said of it, and of several targets the worst counts.
    """
    for metric, higher in before.maximize.items():
        now = after.maximize.get(metric)
        if now != higher:
            said = "nothing says it any more" if now is None else "now it would be the other way round"
            raise UserError(
                f"more of {metric} was {'better' if higher else 'worse'} so far, and {said}: name it in an "
                f"objective or a constraint as before, or {_BEGIN}"
            )
    for metric, higher in after.maximize.items():
        if not higher and metric not in before.maximize and len(before.conditions.targets) > 1:
            raise UserError(
                f"nothing said so far that less of {metric} is better, so that of several targets the least "
                f"counted: name a target's own, such as {metric}/{before.conditions.targets[0].name}, or "
                f"{_BEGIN}"
            )
