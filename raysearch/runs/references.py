"""What a search is compared with, made before it: the parent, a larger teacher, the static int8 form ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ray

from raysearch import storage
from raysearch.backends import spec_of
from raysearch.backends.base import Backend, Estimator, MeasurementError
from raysearch.backends.measurement.remote import RemoteService
from raysearch.basics.failures import RunError, failure
from raysearch.record import journal as journals
from raysearch.record.journal import Event
from raysearch.runs import tuning
from raysearch.runs.conducting.conductor import Conductor
from raysearch.runs.later_targets import export_parent
from raysearch.runs.session import Session
from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.base import Config, Outcome
from raysearch.searchers.fixed import FixedList
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.finalists import static_int8_reports
from raysearch.trainables.keeping.variants import make_again, reference_is_whole
from raysearch.trainables.setup import FILES, LONGER

_LOSSES = 3  # of one reference, in a session


def make_references(session: Session, service: RemoteService) -> bool:
    """Train the parent and what else is asked for, then quantise the parent by the runtime's own means.

    Returns:
        Whether all are complete.

    Raises:
        RunError: a reference failed, and without it nothing can be compared.
    """
    make_lost_again(session)
    known = session.record.parent
    if known is not None and known.outcome == "finished":
        export_parent(session)
        _compare_with_parent(session, service)
    _train(session, service, session.work.references)
    for name in session.work.references:
        trial = session.record.trials.get(name)
        if trial is None or trial.outcome is None:
            return False
        if trial.outcome == "failed" and name != LONGER:  # which others start from or are taught by
            kept = f" (traceback in {session.folder / trial.traceback})" if trial.traceback else ""
            raise RunError(
                f"the {name} network failed, so nothing can be compared with it: {trial.reason}{kept}"
            )
    make_static_int8(session)
    return True


def make_lost_again(session: Session) -> list[str]:
    """Make again what trained references have left and a disk has lost; their figures stay as they are.

    Returns:
        The names of those that were lost.

    Raises:
        RunError: it is lost again and again, or cannot be made.
    """
    lost = []
    for name in session.work.references:
        trial = session.record.trials.get(name)
        if trial is None or trial.outcome != "finished" or reference_is_whole(session.setup, name):
            continue
        lost.append(name)
        session.losses[name] += 1
        if session.losses[name] > _LOSSES:
            raise RunError(f"what the {name} network has left was lost {_LOSSES} times: look after the disk")
        session.table.begin(f"the files of the {name} network are lost or damaged: making them again")
        try:
            session.remotely(make_again, name, trial.reports, gpu=True)
        except ray.exceptions.RayError as error:
            reason = failure(error)
            raise RunError(
                f"the {name} network's files are lost, and could not be made again: {reason}"
            ) from error
    return lost


class _OneByOne(FixedList):
    """Suggests each reference by its name, and nothing after one that failed: what follows may need it."""

    def __init__(self, references: Mapping[str, Config]) -> None:
        super().__init__(list(references.values()))
        self._references = references

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """See ``FixedList``; a journal that was repaired may lack any of them."""
        found = super().ask(trial, given)
        return found if found is None or given is not None else self._references[trial]

    def end(self, trial: str, outcome: Outcome) -> None:
        if outcome == "failed" and trial != LONGER:
            self._asked = len(self._configs)


def _train(session: Session, service: RemoteService, references: Mapping[str, Config]) -> None:
    """One after another in one worker: a later one may start from the weights of the first."""

    def note(event: Event) -> None:
        session.note(event)
        if event["event"] == "end" and event["trial"] == "parent" and event["outcome"] == "finished":
            _compare_with_parent(session, service)  # step 0, which does so, may be of an earlier session

    def conductor() -> Conductor:
        return Conductor(
            session.journal,
            session.record,
            _OneByOne(references),
            FullTraining(),
            role="reference",
            names=list(references),
            variant=session.work.space.variant,
            limit=len(references),
            workers=lambda: 1,
            last_step=session.setup.last_step,
            origin=lambda key: "reference",
            listener=note,
        )

    conduct(session, conductor)


def conduct(session: Session, make: Callable[[], Conductor]) -> Conductor:
    """Conduct trials, with a new conductor wherever one missed a reference, after that was made again.

    Returns:
        The last conductor.

    Raises:
        RunError: a reference is lost again and again, or trials miss again and again one that is there.
    """
    signals = session.signals
    while True:
        conductor = make()
        conductor.replay(session.events)
        with signals.watched():
            tuning.conduct(
                conductor,
                session.setup_of_trials,
                session.workers,
                session.seconds_left(),
                session.callbacks,
                lambda: signals.asked,
            )
        if not conductor.lost or signals.asked:
            return conductor
        if conductor.lost not in make_lost_again(session):
            _count_missed(session, conductor.lost)
        session.events = list(journals.read(session.folder))


def _count_missed(session: Session, name: str) -> None:
    """A trial missed a reference that is whole where the driver looks: one node's disk, or for ever."""
    session.losses[name] += 1
    if session.losses[name] > _LOSSES:
        raise RunError(
            f"trials miss what the {name} network left in {session.folder / 'references'}, which is there: "
            "do all workers see it?"
        )


def _compare_with_parent(session: Session, service: RemoteService) -> None:
    """Make the parent the service's reference: one that was started for a resumed run has none yet.

    Raises:
        RunError: a target's device does not answer, or cannot run the parent any more.
    """
    for target in session.setup.measured:
        if isinstance(target, Estimator):
            continue
        try:
            _set_reference(session, service, target)
        except MeasurementError as error:
            raise RunError(
                f"the parent network cannot be measured, so nothing can be compared with it: {error}"
            ) from error


def compare_finalists(session: Session, service: RemoteService) -> dict[str, str]:
    """Make the parent the reference of the targets that only finalists are measured on.

    Returns:
        Those that it cannot be measured on, with the reason.
    """
    refused = {}
    for target in session.setup.measured_last:
        try:
            _set_reference(session, service, target)
        except MeasurementError as error:
            refused[target.name] = str(error)
    return refused


def _set_reference(session: Session, service: RemoteService, target: Backend) -> None:
    example = feed_of(session.work.conditions.task.example_input(target.batch))
    file = session.setup.variant_folder("parent") / FILES[target.form]
    service.set_reference(spec_of(target), storage.read(file), example)


def make_static_int8(session: Session) -> None:
    """The cheapest rival, on the targets whose runtime has such a quantisation, if there are any."""
    work, name = session.work, "parent-int8"
    if not any(target.form == "uint8" for target in work.conditions.targets):
        return
    known = session.record.trials.get(name)
    if known is not None and known.outcome is not None:
        return
    if known is None:
        parent = work.space.variant(work.references["parent"])
        head = {"role": "reference", "config": parent.config, "key": f"{parent.key}-int8"}
        session.write("suggestion", trial=name, **head, origin="reference")
    try:
        reports = session.remotely(static_int8_reports)
    except ray.exceptions.RayError as error:  # with a cause where it is the task's own
        reason = failure(error)
        session.write("end", trial=name, outcome="failed", reason=reason, **session.kept(error, name))
        return
    reported = session.record.trials[name].reports
    with session.journal.together():
        for report in reports:
            if report["step"] not in reported:
                session.write("report", trial=name, decision=Decision.CONTINUE.value, **report)
        session.write("end", trial=name, outcome="finished")
