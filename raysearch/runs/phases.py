"""A run at work: the references, the search and the finalists, one after another, on Ray.

Each phase is one ``ray.tune.Tuner`` over a Conductor, or a Ray task. Everything is journalled, so a phase
that was cut short is gone on with by the next session, and one that is complete is passed over.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ray import tune

from raysearch import storage
from raysearch.backends.measurement.devices import start_service
from raysearch.basics.disk import StorageError, is_full, storing
from raysearch.basics.failures import RunError, UserError, first_line
from raysearch.objectives import Goals
from raysearch.record import journal as journals
from raysearch.record.journal import Journal
from raysearch.record.remarks import about_code
from raysearch.record.results import RunResult
from raysearch.record.run_record import RunRecord
from raysearch.record.scores import goals_of
from raysearch.record.states import States
from raysearch.reporting.cards import write_cards
from raysearch.reporting.html import write_report
from raysearch.reporting.progress import LiveTable
from raysearch.runs import tuning
from raysearch.runs.cluster.workers import at_work
from raysearch.runs.conducting.conductor import Conductor
from raysearch.runs.finalists import measure_finalists
from raysearch.runs.kept import code_of, made_of
from raysearch.runs.later_targets import check_weight_bits, measure_on_later_targets, targets_that_come
from raysearch.runs.preflight import check_first
from raysearch.runs.provenance import provenance
from raysearch.runs.references import conduct, make_references
from raysearch.runs.session import Session, Work, begun, has_searched, is_done, limit_of
from raysearch.runs.signals import Signals
from raysearch.runs.sparing import spare_measurements
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.screening import Screening
from raysearch.searchers.base import Choosing, Searcher
from raysearch.storage import Place
from raysearch.trainables.setup import weight_bits_on


def carry_out(
    work: Work,
    num_trials: int | None,
    folder: Place,
    *,
    max_minutes: float | None,
    progress: bool,
    callbacks: Sequence[tune.Callback] = (),
) -> RunResult:
    """Do a run's work in a folder, or go on with the run that is there; see ``Study.run``."""
    with contextlib.closing(opened(folder)) as journal:  # nobody else writes it from before it is read
        return go_on(
            work, num_trials, journal, max_minutes=max_minutes, progress=progress, callbacks=callbacks
        )


def opened(folder: Place) -> Journal:
    """The journal of the run in a folder, for this process alone to write.

    Raises:
        UserError: another writes it, or workers would not see it.
    """
    if str(folder).startswith("memory:"):
        raise UserError(f"{folder} is in this process alone: give a folder that workers see too")
    return Journal(folder)


def go_on(
    work: Work,
    num_trials: int | None,
    journal: Journal,
    *,
    max_minutes: float | None,
    progress: bool,
    callbacks: Sequence[tune.Callback] = (),
    limits: Mapping[str, Any] = MappingProxyType({}),
) -> RunResult:
    """Do a run's work, or what is left of it, where its journal is open.

    Args:
        work: what is to be done, under the limits that are to hold.
        num_trials: that may train, in all; None: any number.
        journal: open for writing.
        max_minutes: of the session.
        progress: whether to show the live table.
        callbacks: of Tune.
        limits: "objectives", "constraints" and "targets" of the study, where they are others than so far.
    """
    folder = journal.folder
    record, events = begun(folder, work.described, work.conditions.metrics, limits)
    if is_done(record, num_trials) and not limits:
        return conclude(work, folder)
    deadline = time.time() + 60 * max_minutes if max_minutes else float("inf")
    limit = limit_of(work, num_trials)
    table, conditions = LiveTable(record, limit=limit, quiet=not progress), work.conditions
    with (
        _begun(record),
        tuning.cluster(),
        Signals() as signals,
        table,
        storage.telling(table.wait),
        storage.hurried(lambda: signals.asked),
        at_work(conditions.demand, conditions.workers) as workers,
    ):
        table.where = workers.words
        came = targets_that_come(record, conditions) if limits else []
        check_first(work, table, anew=not events or bool(came))
        check_weight_bits(record, came)
        session = Session(
            work, folder, num_trials, journal, record, table, deadline, events, tuple(callbacks)
        )
        session.limits = limits
        session.workers, session.signals = workers, signals
        return _work_through(session, max_minutes)


@contextlib.contextmanager
def _begun(record: RunRecord) -> Iterator[None]:
    """An interrupt before a run's first line says that there is nothing to go on with."""
    try:
        yield
    except KeyboardInterrupt as error:
        if record.header:
            raise
        raise KeyboardInterrupt("ended before the run began: there is nothing to go on with") from error


def _work_through(session: Session, max_minutes: float | None) -> RunResult:
    """Do the phases between the two lines of a session, and write what a person looks at, however they end.

    Raises:
        RunError: there is no room or no storage any more, another driver took over, or a reference failed.
        KeyboardInterrupt: it was asked twice to end; nothing was written for a person.
    """
    work, budget = session.work, {"num_trials": session.num_trials, "max_minutes": max_minutes}
    workers = work.conditions.workers
    ending = "error"
    try:
        if not session.record.header:
            head = {"study": work.described, "metrics": work.conditions.metrics}
            made = made_of(work.conditions, work.described, work.maximize)
            bits = weight_bits_on(work.conditions.targets)
            session.write(
                "run",
                version=journals.VERSION,
                **head,
                references=made,
                weight_bits=bits,
                warm_start=dict(work.warm_start),
                **provenance(),
            )
        if workers != session.record.header["study"].get("search", {}).get("workers"):
            budget["workers"] = workers
        source = work.conditions.task.source
        code = code_of(source) if source else None
        began = {
            "action": "resume" if session.events else "start",
            **budget,
            **({"code": code} if code else {}),
        }
        with session.journal.together():  # a change is stored with the session that makes it, or not at all
            session.write("session", **began)
            if session.limits:
                session.events.append(session.write("limits", **session.limits))
        for remark in about_code(session.record, since=session.record.sessions[-1]):
            session.table.say(remark)
        try:
            ending = _phases(session)
        except Exception as error:
            ending = "storage" if is_full(error) else ending
            raise
        except KeyboardInterrupt:
            ending = "interrupt"
            raise
        finally:
            # What was waited for in vain is not waited for again.
            with storage.impatiently() if ending == "storage" else contextlib.nullcontext():
                session.write("session", action=ending, **budget)
                if not session.signals.now:
                    result = conclude(work, session.folder)
    except Exception as error:
        if not is_full(error):
            raise
        what = str(error) if isinstance(error, StorageError) else first_line(error)
        raise RunError(
            f"{what}; when that is mended, go on with: raysearch resume {session.folder}"
        ) from error
    if session.signals.now:  # somebody else took the interrupt
        raise KeyboardInterrupt
    return result


def _phases(session: Session) -> str:
    """Do what is left of the run; says how it ended: "finish", "timeout" or "interrupt".

    Raises:
        KeyboardInterrupt: it is to end at once.
    """
    service = start_service(session.setup.service)
    try:
        service.known(m for trial in session.record.trials.values() for m in trial.measurements)
        if not make_references(session, service):
            return "interrupt" if session.seconds_left() > 0 else "timeout"
        if session.work.after_references is not None:
            session.work.after_references(session)
        spare_measurements(session, service)
        if not measure_on_later_targets(session):
            return "timeout"
        ending = "finish" if _is_searched(session) else _search(session)
        if session.signals.asked:
            return "interrupt"
        if ending != "interrupt":
            measure_on_later_targets(session)  # what has finished since
            measure_finalists(session, service)
        return ending
    except KeyboardInterrupt:
        if session.signals.now:
            raise
        return "interrupt"
    finally:
        service.stop(now=session.signals.now)


def _is_searched(session: Session) -> bool:
    """Whether the search has come to its end before, so that only what its limits bring is left."""
    ended = all(trial.outcome for trial in session.record.searched())
    return ended and has_searched(session.record.sessions, session.num_trials)


def _search(session: Session) -> str:
    """The search itself. Returns how it ended, "finish" where every trial has."""
    work, goals = session.work, goals_of(session.record)

    def make() -> Conductor:
        searcher = work.searcher(goals)
        return Conductor(
            session.journal,
            session.record,
            searcher,
            _scheduler(session, goals, searcher),
            role="trial",
            variant=work.space.variant,
            limit=limit_of(work, session.num_trials),
            workers=session.workers,
            last_step=session.setup.last_step,
            origin=work.origin,
            listener=session.note,
            states=States(session.folder),
            deadline=session.deadline,
        )

    conductor = conduct(session, make)
    if conductor.complete:
        return "finish"
    out_of_time = session.seconds_left() <= 0 or (conductor.closing and not conductor.in_flight)
    return "timeout" if out_of_time else "interrupt"


def _scheduler(session: Session, goals: Goals, searcher: Searcher) -> Scheduler:
    """The study's scheduler, behind a screen where it has one."""
    work = session.work
    scheduler = work.scheduler(goals)
    if work.screen == 1:
        return scheduler
    return Screening(
        scheduler,
        goals,
        candidates=work.screen,
        trials=session.num_trials,
        exempt=lambda trial: session.record.trials[trial].key in work.unscreened,
        choose=searcher.choose if isinstance(searcher, Choosing) else None,
    )


def conclude(work: Work, folder: Place) -> RunResult:
    """Write what a person looks at."""
    result = RunResult(folder)
    with storing(folder):
        result.write_tables()
        write_cards(result.record, folder)
        write_report(folder)
        if work.write_pages is not None:
            work.write_pages(folder)
    _tidy(result)
    return result


def _tidy(result: RunResult) -> None:
    """Remove what no trial needs any more: checkpoints of those that have ended, and half-written files."""
    trials = result.folder / "trials"
    ended = {name for name, trial in result.record.trials.items() if trial.outcome is not None}
    gone = [trials] if result.complete else [trials / name for name in storage.names(trials) if name in ended]
    variants = result.folder / "variants"
    parts = [variants / name for name in storage.names(variants) if name.endswith(".part")]
    for folder in (*gone, *parts):
        storage.remove(folder)
