"""The finalists: the front and the references, measured once more and evaluated on the test split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import ray

from raysearch.backends.measurement.remote import RemoteService
from raysearch.basics.failures import failure
from raysearch.record.choices import leaves_early, plain_beside
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.scores import Scores, goals_of
from raysearch.runs.references import compare_finalists, make_lost_again
from raysearch.runs.session import Session
from raysearch.trainables.finalists import STATIC_INT8, final_figures
from raysearch.trainables.keeping.variants import restore, variant_is_whole


def measure_finalists(session: Session, service: RemoteService) -> None:
    """Measure the front and the references once more, alone, and evaluate them on the test split, once."""
    make_lost_again(session)
    front = Scores(session.record).front
    names = [
        *(t.name for t in front),
        *_beside_exits(session.record, front),
        *(t.name for t in session.record.trials.values() if t.role == "reference"),
    ]
    trials = [session.record.trials[name] for name in dict.fromkeys(names)]
    left = [t.name for t in trials if t.outcome == "finished" and (not t.final or _lacks_a_target(t))]
    refused = compare_finalists(session, service) if left else {}
    for name in left:
        try:
            remark = _restored(session, name)
            report = session.remotely(final_figures, name, refused)
        except ray.exceptions.RayError as error:
            cause = failure(error)
            notes = [f"not measured again: {cause}"]
            session.write("final", trial=name, values={}, notes=notes, **session.kept(error, name))
            continue
        figures = {key: report[key] for key in ("values", "measurements", "notes", "parts")}
        figures["notes"] = [*remark, *figures["notes"]]
        session.write("final", trial=name, **figures)


def _lacks_a_target(trial: TrialRecord) -> bool:
    """Whether a target came after a trial's final figures, on which it could be measured."""
    return trial.outdated and bool(trial.later)


def _beside_exits(record: RunRecord, front: Sequence[TrialRecord]) -> Iterator[str]:
    """The plain variants that the front's early exits are compared with."""
    goals = goals_of(record)
    for trial in filter(leaves_early, front):
        for target in record.targets:
            beside = plain_beside(record, goals, trial, target)
            if beside is not None and beside.plain is not None:
                yield beside.plain.name


def _restored(session: Session, name: str) -> list[str]:
    """Make a finalist's files again where they are damaged; what was done, where something was."""
    if name == STATIC_INT8 or variant_is_whole(session.setup, name):
        return []  # that one knows itself
    remark = session.remotely(restore, name, session.record.trials[name].config, gpu=True)
    return [remark] if remark else []
