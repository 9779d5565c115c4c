"""What a run measures on targets that came later: trials that have finished or go on, each once."""

from __future__ import annotations

from collections.abc import Sequence

import ray

from raysearch.backends.base import Backend, DeviceLost, trial_figures
from raysearch.backends.on_nodes import OnNodes
from raysearch.basics.failures import RunError, UserError, failure
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.runs.conditions import Conditions
from raysearch.runs.session import BITS_BEFORE, Session
from raysearch.trainables.finalists import STATIC_INT8
from raysearch.trainables.keeping.later_targets import figures_on
from raysearch.trainables.keeping.variants import add_forms


def targets_that_come(record: RunRecord, conditions: Conditions) -> list[Backend]:
    """The targets that a run has not had so far."""
    return [target for target in conditions.targets if target.name not in record.targets]


def check_weight_bits(record: RunRecord, targets: Sequence[Backend]) -> None:
    """Refuse targets for which the weights of trials that were trained already would have had fewer bits.

    What a device that is away needs is not known.

    Raises:
        UserError: in one sentence.
    """
    bits = record.header.get("weight_bits", BITS_BEFORE)
    for target in targets:
        if isinstance(target, OnNodes) and (missing := target.missing()):
            raise UserError(f"target {target.name} can be added when it is there: {missing}")
        if (most := target.weight_bits()) < bits:
            raise UserError(
                f"target {target.name} sums products of integer weights of at most {most} bits, and the "
                f"trials were trained with {bits}: begin another run for it"
            )


def export_parent(session: Session) -> None:
    """Let the parent have the files that targets want which came later: others are compared with it there.

    Raises:
        RunError: it cannot be exported.
    """
    if session.record.later_targets:
        try:
            session.remotely(add_forms, "parent", session.work.references["parent"])
        except ray.exceptions.RayError as error:
            reason = failure(error)
            raise RunError(
                f"the parent network cannot be exported for the targets that came: {reason}; "
                f"{_give_up(session)}"
            ) from error


def measure_on_later_targets(session: Session) -> bool:
    """Measure what the trials lack on targets that came later; each figure is an event of its own.

    Returns:
        Whether all was measured; False where the session's time was over before.

    Raises:
        RunError: a target's device does not answer; a later session asks it again.
    """
    later = session.record.later_targets
    for target in (t for t in session.setup.targets if t.name in later):
        due = [trial for trial in session.record.trials.values() if _is_due(session, trial, target)]
        if due:
            session.table.begin(f"measuring {len(due)} networks on {target.name}, which came later")
        for trial in due:
            if session.seconds_left() <= 0:
                return False
            _measure(session, trial, target)
    return True


def _is_due(session: Session, trial: TrialRecord, target: Backend) -> bool:
    """Whether a trial has finished, or goes on, without figures that it would have reported of a target."""
    finished = trial.outcome == "finished"
    goes_on = trial.outcome is None and trial.role == "trial" and bool(trial.reports)
    if not (finished or goes_on) or target.name in trial.asked:
        return False
    if trial.name == STATIC_INT8 and target.form != "uint8":
        return False
    keys, known = trial_figures(target), trial.searched_values
    said = not keys or any(f"{metric}/{target.name}" in known for metric in keys)
    evaluated = not finished or all(f"{name}/{target.name}" in known for name in session.record.metrics)
    return not (said and evaluated)


def _measure(session: Session, trial: TrialRecord, target: Backend) -> None:
    head = {"trial": trial.name, "target": target.name}
    try:
        report = session.remotely(
            figures_on,
            trial.name,
            trial.config,
            target.name,
            trial.searched_values,
            trial.outcome == "finished",
        )
    except ray.exceptions.RayError as error:
        if isinstance(lost := getattr(error, "cause", None), DeviceLost):
            raise RunError(
                f"{lost}; when it is there again, go on with: raysearch resume {session.folder}; or, "
                f"while it has given no figure, {_give_up(session)}"
            ) from error
        note = f"not measured on {target.name}: {failure(error)}"
        _check_parent(session, trial, note)
        session.write("measured", **head, values={}, notes=[note], **session.kept(error, trial.name))
        return
    if not report["values"]:
        _check_parent(session, trial, report["notes"][0])
    session.write("measured", **head, **{name: report[name] for name in ("values", "measurements", "notes")})


def _check_parent(session: Session, trial: TrialRecord, why: str) -> None:
    """Without the parent's figures on a target no other network can be compared with it there."""
    if trial is session.record.parent:
        raise RunError(f"the parent network has no figures there: {why}; {_give_up(session)}")


def _give_up(session: Session) -> str:
    """How a target that came later goes again."""
    return f"give it up with: raysearch resume {session.folder} --set targets=[those from before]"
