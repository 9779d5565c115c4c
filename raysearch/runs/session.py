"""The work of a run, and a session of it: from one call to its end, whatever ends it.

A run is a folder; a session is what one process does in it, between two ``session`` events of its journal.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import uuid4

import ray
from ray.tune import Callback as Callback

from raysearch import storage
from raysearch.basics.disk import StorageError, is_full
from raysearch.basics.failures import UserError, first_line, traceback_of
from raysearch.objectives import Goals
from raysearch.record.journal import Event, Journal, read
from raysearch.record.run_record import RunRecord
from raysearch.record.tracebacks import keep_traceback
from raysearch.record.writing import is_run
from raysearch.reporting.progress import LiveTable
from raysearch.runs.carried import Carried
from raysearch.runs.cluster.workers import Workers
from raysearch.runs.conditions import Conditions
from raysearch.runs.kept import kept_references
from raysearch.runs.signals import Signals
from raysearch.schedulers.base import Scheduler
from raysearch.search_spaces.space import Space
from raysearch.searchers.base import Config, Searcher
from raysearch.storage import Place
from raysearch.trainables.setup import TrialSetup

BITS_BEFORE = 8
"""That integer weights fit in, of runs that do not say it."""

_RETRIES = 5  # of a task whose worker dies
_PATIENCE = 1 / 3  # of the time of a session, after which no further cycle of a reference begins


@dataclass(frozen=True)
class Work:
    """What a run is to do, whoever asks for it: a search or a sweep.

    Attributes:
        described: all of it as plain data in a study file's form: the journal's first line.
        conditions: what holds for every trial.
        space: decodes the configs.
        references: the configs trained first, by name; the parent is among them.
        goals: objectives and constraints, not yet read against the parent's figures.
        searcher, scheduler: make fresh ones for goals that are.
        origin: who proposes a config, by the key of its canonical form.
        after_references: measures more of the parent, once it is trained.
        write_pages: writes into the run's folder what is shown of it besides its report.
        screen: candidates that go through step 0 for each trial that trains.
        unscreened: keys of the variants that train whatever step 0 says.
        warm_start: "folders" of earlier runs, and how many "configs" of the first are from there.
    """

    described: Mapping[str, Any]
    conditions: Conditions
    space: Space
    references: Mapping[str, Config]
    goals: Goals
    searcher: Callable[[Goals], Searcher]
    scheduler: Callable[[Goals], Scheduler]
    origin: Callable[[str], str]
    after_references: Callable[[Session], None] | None = None
    write_pages: Callable[[Place], object] | None = None
    screen: int = 1
    unscreened: Collection[str] = ()
    warm_start: Mapping[str, Any] = field(default_factory=dict)

    @property
    def maximize(self) -> dict[str, bool]:
        """Whether higher is better, of each of the task's metrics of which something says it."""
        said = {name: self.goals.higher_is_better(name) for name in self.conditions.metrics}
        return {name: higher for name, higher in said.items() if higher is not None}


def limit_of(work: Work, num_trials: int | None) -> float:
    """How many trials may be suggested where so many may train; None: any number, inf."""
    if num_trials is None:
        return math.inf
    unscreened = min(num_trials, len(work.unscreened))
    return unscreened + work.screen * (num_trials - unscreened)


def begun(
    folder: Place,
    described: Mapping[str, Any],
    metrics: Mapping[str, str],
    limits: Mapping[str, Any],
) -> tuple[RunRecord, list[Event]]:
    """The record of the run in a folder, empty where none was begun; limits that are to change may differ.

    Raises:
        UserError: the run is of another study.
    """
    record = RunRecord()
    events = list(read(folder)) if is_run(folder) else []
    for event in events:
        record.apply(event)
    changed = differing({**record.header.get("study", described), **limits}, described)
    if record.header and list(record.metrics) != list(metrics):
        changed.append("metrics")
    if changed:
        raise UserError(
            f"{folder} holds the run of another study ({', '.join(changed)} differ): give another folder"
        )
    return record, events


def differing(held: Mapping[str, Any], described: Mapping[str, Any]) -> list[str]:
    """The keys in which two described studies are not the same."""
    known, asked = _the_same(held), _the_same(described)
    return [key for key in {**asked, **known} if known.get(key, _ABSENT) != asked.get(key, _ABSENT)]


_ABSENT = object()


def _the_same(described: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a described study the same: not where its module lies, nor how many work on it.

    What channels are multiples of, the space of a sweep says too, also of one that does not say it itself.
    """
    left_out = {"task": "module_folder", "search": "workers", "sweep": "multiple"}
    kept = {key: {k: v for k, v in described[key].items() if k != name}
            for key, name in left_out.items() if key in described}  # fmt: skip
    return {**described, **kept}


def is_done(record: RunRecord, num_trials: int | None) -> bool:
    """Whether an earlier session has already done all that is asked for."""
    ended = bool(record.sessions) and record.sessions[-1]["action"] == "finish"
    return ended and has_searched(record.sessions[-1:], num_trials)


def has_searched(sessions: Iterable[Event], num_trials: int | None) -> bool:
    """Whether one of the sessions ran to the end of a search for as many trials."""
    asked = [said.get("num_trials") for said in sessions if said["action"] == "finish"]
    return any(number is None or (num_trials is not None and number >= num_trials) for number in asked)


@dataclass
class Session:
    """What the phases of one session share.

    Attributes:
        work: what is to be done.
        folder: of the run.
        num_trials: that may train, in all; None: any number.
        journal: open for writing.
        record: what the journal says, kept up to date.
        table: the live table.
        deadline: of the search, seconds since the epoch.
        events: those that a conductor replays: of earlier sessions, or all before a reference was lost.
        callbacks: of Tune, the user's.
        losses: how often each reference had to be made again, or was missed where it is there.
        signals: that ask for the end.
        limits: of the study, where they are others than before this session.
    """

    work: Work
    folder: Place
    num_trials: int | None
    journal: Journal
    record: RunRecord
    table: LiveTable
    deadline: float
    events: list[Event] = field(default_factory=list)
    callbacks: tuple[Callback, ...] = ()
    losses: Counter[str] = field(default_factory=Counter)
    signals: Signals = field(default_factory=Signals)
    limits: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def workers(self) -> Workers:
        """How many trials may be at work, and what one takes of a node."""
        return Workers(self.work.conditions.demand, self.work.conditions.workers)

    @property
    def setup_of_trials(self) -> TrialSetup:
        """What the trials are given now: they know which references have been made."""
        made = [
            t.name for t in self.record.trials.values() if t.role == "reference" and t.outcome == "finished"
        ]
        return replace(self.setup, made=frozenset(made))

    @cached_property
    def setup(self) -> TrialSetup:
        """What the trials are given."""
        conditions = self.work.conditions
        setup = TrialSetup(
            conditions.task,
            self.work.space,
            conditions.targets,
            conditions.epochs,
            self.folder,
            references=self.work.references,
            seed=conditions.seed,
            parent_epochs=conditions.parent_epochs,
            maximize=self.work.maximize,
            weight_bits=self.record.header.get("weight_bits", BITS_BEFORE),
            patience=time.time() + _PATIENCE * self.seconds_left(),
            service=f"raysearch-{uuid4().hex}",
        )
        return replace(setup, kept=kept_references(setup, self.record.header.get("references", "")))

    @cached_property
    def _stored_setup(self) -> Any:
        """The set-up in Ray's object store, so that the data are sent once."""
        return ray.put(Carried(self.setup))

    def write(self, event: str, **fields: Any) -> Event:
        """Journal one event and take it in; returns it as written."""
        line = self.journal.write(event, **fields)
        self.record.apply(line)
        self.note(line)
        return line

    def note(self, event: Event) -> None:
        """Show an event that was written, and drop the checkpoint of a trial that has ended."""
        if event["event"] == "end":
            storage.remove(self.setup.trial_folder(event["trial"]))
        self.table.event(event)

    def seconds_left(self) -> float:
        """Until the deadline; infinite without one."""
        return self.deadline - time.time()

    def remotely(self, function: Callable[..., Any], *arguments: Any, gpu: bool = False) -> Any:
        """Run a function of the set-up in a Ray task, on a trial's part of a node, its GPU where it trains.

        Raises:
            ray.exceptions.RayError: it failed, or its worker died.
            StorageError: a disk is full, or storage does not answer.
        """
        demand = self.workers.demand
        options = (demand if gpu else demand.without_gpu()).options()
        task = ray.remote(function).options(**options, max_retries=_RETRIES)
        try:
            return ray.get(task.remote(self._stored_setup, *arguments))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, StorageError):
                raise error.cause from error
            if is_full(error.cause):
                raise StorageError(f"a disk is full: {first_line(error.cause)}") from error
            raise

    def kept(self, error: BaseException, name: str) -> dict[str, str]:
        """The field of an event that names the file with the traceback of a trial's failed task."""
        return {"traceback": keep_traceback(self.folder, name, traceback_of(error))}
