"""A study at work: the references, the search and the finalists, one after another, on Ray.

Each phase is one ``ray.tune.Tuner`` over a Session, or a Ray task. Everything is journalled, so a phase that
was cut short is gone on with by the next call, and one that is complete is passed over.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import ray

from raysearch import backends
from raysearch.backends.service import RemoteService, start_service
from raysearch.basics.disk import StorageError, is_full, storing
from raysearch.basics.failures import RunError, UserError, failure, first_line, traceback_of
from raysearch.methods import name_of
from raysearch.record import journal as journals
from raysearch.record.journal import Event, Journal, RunRecord
from raysearch.record.results import StudyResult
from raysearch.record.scores import Scores
from raysearch.record.tracebacks import keep_traceback
from raysearch.reporting.cards import write_cards
from raysearch.reporting.html import write_report
from raysearch.reporting.progress import LiveTable
from raysearch.runs import tuning
from raysearch.runs.conductor import Session
from raysearch.runs.preflight import check_deployable
from raysearch.runs.provenance import provenance
from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.base import Config
from raysearch.searchers.fixed import FixedList
from raysearch.study import Study
from raysearch.sweeps.table import write_sweep
from raysearch.tasks import ResNetBuilder
from raysearch.trainables.setup import FILES, TrialSetup


@dataclass
class Run:
    """What the phases of one call share."""

    study: Study
    folder: Path
    num_trials: int
    journal: Journal
    record: RunRecord
    table: LiveTable
    deadline: float
    events: list[Event] = field(default_factory=list)

    @cached_property
    def setup(self) -> TrialSetup:
        """What the trials are given."""
        study = self.study
        return TrialSetup(
            study.task,
            study.space,
            study.targets,
            study.epochs,
            self.folder,
            references=study.references,
            seed=study.seed,
            maximize=study.maximize,
            service=f"raysearch-{sha256(str(self.folder).encode()).hexdigest()[:12]}",
        )

    @cached_property
    def stored_setup(self) -> Any:
        """The set-up in Ray's object store, so that the data are sent once."""
        return ray.put(self.setup)

    def write(self, event: str, **fields: Any) -> None:
        """Journal one event and take it in."""
        line = self.journal.write(event, **fields)
        self.record.apply(line)
        self.note(line)

    def note(self, event: Event) -> None:
        """Show an event that was written, and drop the checkpoint of a trial that has ended."""
        if event["event"] == "end":
            shutil.rmtree(self.setup.trial_folder(event["trial"]), ignore_errors=True)
        self.table.event(event)

    def seconds_left(self) -> float:
        """Until the deadline; infinite without one."""
        return self.deadline - time.time()


def run_study(
    study: Study, num_trials: int, folder: Path, *, max_minutes: float | None, progress: bool
) -> StudyResult:
    """Run a study in a folder, or go on with the run that is there; see ``Study.run``."""
    described = study.describe()
    with contextlib.closing(Journal(folder)) as journal:  # nobody else writes it from before it is read
        record, events = _read(folder, described)
        if _is_done(record, num_trials):
            return _conclude(folder)
        deadline = time.time() + 60 * max_minutes if max_minutes else float("inf")
        with tuning.cluster():
            _check(study, anew=not events)
            with LiveTable(record, num_trials=num_trials, quiet=not progress) as table:
                run = Run(study, folder, num_trials, journal, record, table, deadline, events)
                return _work(run, described, max_minutes)


def _work(run: Run, described: Mapping[str, Any], max_minutes: float | None) -> StudyResult:
    """Do the phases between the two lines of a session, and write what a person looks at, however they end.

    Raises:
        RunError: a disk is full, or a reference failed.
    """
    budget = {"num_trials": run.num_trials, "max_minutes": max_minutes}
    ending = "error"
    try:
        if not run.record.header:
            run.write("run", version=journals.VERSION, study=described, metrics=run.study.metrics, **provenance())
        run.write("session", action="resume" if run.events else "start", **budget)
        try:
            ending = _phases(run)
        except Exception as error:
            ending = "storage" if is_full(error) else ending
            raise
        finally:
            run.write("session", action=ending, **budget)
            result = _conclude(run.folder)
    except Exception as error:
        if not is_full(error):
            raise
        what = str(error) if isinstance(error, StorageError) else first_line(error)
        raise RunError(f"{what}; when that is mended, go on with: raysearch resume {run.folder}") from error
    return result


def _check(study: Study, *, anew: bool) -> None:
    """Refuse what no trial could do: more resources than there are, a model that cannot be deployed.

    A model of raysearch's own always can. Others are tried in a worker, whose memory is given back.

    Raises:
        ValueError: in one sentence.
    """
    tuning.workers(study.resources)
    if not anew or isinstance(study.task.model, ResNetBuilder):
        return
    task = ray.remote(check_deployable).options(num_cpus=study.resources["cpu"], max_retries=0)
    try:
        ray.get(task.remote(study))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise UserError(f"the worker that tried the model died: {first_line(error)}") from error


def _read(folder: Path, described: Mapping[str, Any]) -> tuple[RunRecord, list[Event]]:
    """The record of the run in a folder, empty where none was begun."""
    record = RunRecord()
    events = list(journals.read(folder))
    for event in events:
        record.apply(event)
    if record.header and record.header["study"] != described:
        changed = [k for k in described if record.header["study"].get(k) != described[k]]
        raise UserError(
            f"{folder} holds the run of another study ({', '.join(changed)} differ): give another folder"
        )
    return record, events


def _is_done(record: RunRecord, num_trials: int) -> bool:
    """Whether an earlier call has already done all that is asked for."""
    finished = bool(record.sessions) and record.sessions[-1]["action"] == "finish"
    return finished and len(record.searched()) >= num_trials


def _phases(run: Run) -> str:
    """Do what is left of the run; says how it ended: "finish", "timeout" or "interrupt"."""
    service = start_service(run.setup.service)
    try:
        service.known(m for trial in run.record.trials.values() for m in trial.measurements)
        if not _references(run, service):
            return _cut_short(run)
        _left_out(run)
        goals = run.study.goals(run.record.trials["parent"].reports)
        complete = _search(run, goals)
        if not complete and run.seconds_left() > 0:
            return "interrupt"
        _finalists(run)
        return "finish" if complete else "timeout"
    except KeyboardInterrupt:
        return "interrupt"
    finally:
        service.stop()


def _cut_short(run: Run) -> str:
    return "interrupt" if run.seconds_left() > 0 else "timeout"


def _references(run: Run, service: RemoteService) -> bool:
    """Train the parent (and the larger teacher), then quantise the parent by the runtime's own means.

    Returns:
        Whether all are complete.

    Raises:
        RunError: a reference failed; without it nothing can be compared.
    """
    for name, config in run.study.references.items():
        _train_reference(run, name, config)
        trial = run.record.trials.get(name)
        if trial is None or trial.outcome is None:
            return False
        if trial.outcome == "failed":
            kept = f" (traceback in {run.folder / trial.traceback})" if trial.traceback else ""
            raise RunError(
                f"the {name} network failed, so nothing can be compared with it: {trial.reason}{kept}"
            )
        if name == "parent":
            _compare_with_parent(run, service)
    _static_int8(run)
    return True


def _train_reference(run: Run, name: str, config: Config) -> None:
    session = Session(
        run.journal,
        run.record,
        FixedList([config]),
        FullTraining(),
        role="reference",
        names=[name],
        variant=run.study.space.variant,
        limit=1,
        workers=1,
        last_step=run.study.epochs + 1,
        origin=lambda key: "reference",
        listener=run.note,
    )
    session.replay(run.events)
    tuning.conduct(session, run.setup, run.study.resources, run.seconds_left())


def _compare_with_parent(run: Run, service: RemoteService) -> None:
    """Make the parent the service's reference: one that was started for a resumed run has none yet."""
    example = run.study.task.example_input().numpy()
    for target in run.study.targets:
        file = run.setup.variant_folder("parent") / FILES[backends.get(target).form]
        service.set_reference(target, file.read_bytes(), example)


def _static_int8(run: Run) -> None:
    """The cheapest rival, on the targets whose runtime has such a quantisation, if there are any."""
    if not any(backends.get(target).form == "uint8" for target in run.study.targets):
        return
    known = run.record.trials.get("parent-int8")
    if known is not None and known.outcome is not None:
        return
    if known is None:
        parent = run.study.space.variant(run.study.parent)
        run.write(
            "suggestion",
            trial="parent-int8",
            role="reference",
            config=parent.config,
            key=f"{parent.key}-int8",
            origin="reference",
        )
    try:
        reports = _remotely(run, "static_int8_reports")
    except ray.exceptions.RayError as error:  # with a cause where it is the task's own
        reason = failure(getattr(error, "cause", error))
        run.write("end", trial="parent-int8", outcome="failed", reason=reason, **_kept(run, error, "parent-int8"))
        return
    for report in reports:
        run.write("report", trial="parent-int8", decision=Decision.CONTINUE.value, **report)
    run.write("end", trial="parent-int8", outcome="finished")


def _left_out(run: Run) -> None:
    """What the parts of a sweep are worth: the parent evaluated without each of them, once."""
    if run.study.sweep is None or run.record.trials["parent"].left_out:
        return
    try:
        found = _remotely(run, "left_out", run.study.sweep["parts"])
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        reason = first_line(cause) if isinstance(cause, ValueError) else failure(cause)
        found = {"reason": f"no importances by leaving parts out: {reason}", **_kept(run, error, "parent")}
    run.write("left_out", trial="parent", **found)


def _search(run: Run, goals: Any) -> bool:
    """The search itself. Returns whether every trial has ended."""
    study = run.study
    session = Session(
        run.journal,
        run.record,
        study.make_searcher(goals),
        study.make_scheduler(goals),
        role="trial",
        variant=study.space.variant,
        limit=run.num_trials,
        workers=study.workers or tuning.workers(study.resources),
        last_step=study.epochs + 1,
        origin=lambda key: study.origins.get(key, name_of(study.searcher)),
        listener=run.note,
    )
    session.replay(run.events)
    tuning.conduct(session, run.setup, run.study.resources, run.seconds_left())
    return session.complete


def _finalists(run: Run) -> None:
    """Measure the front and the references once more, alone, and evaluate them on the test split, once."""
    names = [
        *(t.name for t in Scores(run.record).front),
        *(t.name for t in run.record.trials.values() if t.role == "reference"),
    ]
    for name in dict.fromkeys(names):
        trial = run.record.trials[name]
        if trial.outcome == "finished" and not trial.final:
            try:
                report = _remotely(run, "final_figures", name)
            except ray.exceptions.RayError as error:
                cause = failure(getattr(error, "cause", None) or error)
                notes = [f"not measured again: {cause}"]
                run.write("final", trial=name, values={}, notes=notes, **_kept(run, error, name))
                continue
            run.write("final", trial=name, values=report["values"], measurements=report["measurements"])


def _remotely(run: Run, function: str, *arguments: Any) -> Any:
    """Run a function of ``trainables.finalists`` in a Ray task, on a core that was asked for."""
    from raysearch.trainables import finalists

    task = ray.remote(getattr(finalists, function)).options(num_cpus=run.study.resources["cpu"])
    try:
        return ray.get(task.remote(run.stored_setup, *arguments))
    except ray.exceptions.RayTaskError as error:
        if is_full(error.cause):
            raise StorageError(f"a disk is full: {first_line(error.cause)}") from error
        raise


def _kept(run: Run, error: BaseException, name: str) -> dict[str, str]:
    """The field of an event that names the file with the traceback of a failed task."""
    return {"traceback": keep_traceback(run.folder, name, traceback_of(error))}


def _conclude(folder: Path) -> StudyResult:
    """Write what a person looks at."""
    result = StudyResult(folder)
    with storing(folder):
        result.write_tables()
        write_cards(result.record, folder)
        write_report(folder)
        if "sweep" in result.study:
            write_sweep(folder)
    if result.complete:
        shutil.rmtree(folder / "trials", ignore_errors=True)
    return result
