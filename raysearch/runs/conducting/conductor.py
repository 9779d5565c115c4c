"""A searcher and a scheduler whose every step goes through the journal.

A Conductor looks like a searcher and like a scheduler to the adapters of Tune. Each suggestion, report,
decision, promotion and end is written before it takes effect, so the Conductor of a later session, which
replays the journal, stands where this one stood. What one step brings (a report, and the end that it means)
is stored together, before Tune is answered.

What the scheduler pauses, the conductor keeps: for Tune the trial is over, its worker free. When promoted,
it is given out again under its name, as an unfinished trial is after a kill, and goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from raysearch.basics.disk import StorageError
from raysearch.basics.failures import RunError
from raysearch.basics.outcome import Outcome
from raysearch.record.journal import Event, Journal
from raysearch.record.lease import LeaseLost
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.states import History, States
from raysearch.record.tracebacks import keep_traceback
from raysearch.runs.conducting.algorithms import Algorithms
from raysearch.runs.conducting.closing import Closing
from raysearch.runs.conducting.replay import as_of_now, limits_in
from raysearch.schedulers.base import Decision, Scheduler
from raysearch.search_spaces.plans import Variant
from raysearch.searchers.base import Config, Searcher

DEATHS = 3  # of a trial's workers in a row, without a report between, that it survives


class Conductor:
    """Conducts the trials of one role.

    Args:
        journal: where every event goes.
        record: the run so far; kept up to date.
        searcher, scheduler: pure algorithms, fresh (``replay`` brings them to where they stood).
        role: "reference" or "trial"; names in the journal are the caller's for references.
        variant: what a config amounts to.
        limit: how many trials to suggest in all, those of earlier sessions counted; inf: any number.
        workers: how many may be in flight; asked anew each time.
        last_step: the step that completes a trial, by its name.
        origin: who proposes, by the key of the variant.
        listener: sees each event after it was stored.
        states: where states are kept beside the journal; None: nowhere.
        deadline: seconds since the epoch. No trial begins that could not end by then beside all that may end
            on the front; what is left of the time finishes these.

    Attributes:
        error: why nothing can be stored any more, None while it can; no trial is begun after it.
        closing: whether no trial begins now for lack of time.
        lost: the reference that a trial missed, empty while none did; no trial is begun after it.
    """

    def __init__(
        self,
        journal: Journal,
        record: RunRecord,
        searcher: Searcher,
        scheduler: Scheduler,
        *,
        role: str,
        variant: Callable[[Config], Variant],
        limit: float,
        workers: Callable[[], int],
        last_step: Callable[[str], int],
        origin: Callable[[str], str],
        names: Sequence[str] = (),
        listener: Callable[[Event], None] = lambda event: None,
        states: States | None = None,
        deadline: float = math.inf,
    ) -> None:
        self.journal, self.record = journal, record
        self.algorithms = Algorithms(searcher, scheduler)
        self.role, self.limit, self.workers, self.last_step = role, limit, workers, last_step
        self.variant, self.origin, self.names, self.listener = variant, origin, names, listener
        self._closing, self.closing = Closing(deadline, last_step), False
        self._limits: list[Mapping[str, Any]] = []
        self._history, self._states = History(), states or States(None)
        self.pending: list[str] = []
        self.error: RunError | None = None
        self.lost = ""
        self._written: list[Event] = []
        self._deaths: Counter[str] = Counter()
        self._paused: set[str] = set()
        self._name: dict[str, str] = {}
        self._suggested = 0
        self._exhausted = False

    def replay(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Bring the algorithms to where the journal left them; unfinished trials become pending or paused.

        What the journal records is given to them as if they had chosen it: the searcher takes the recorded
        config, the scheduler the recorded decision or promotion, whatever they would choose today (another
        version of them, another seed). So nothing is computed again. Where a kill came between a report and
        the end that it brings, the end is written now.

        Where the run's limits have changed, they take in all that came before as it ranks under those of now.
        """
        with self._step():
            self._replay(events)

    def _replay(self, events: Iterable[Mapping[str, Any]]) -> None:
        known = list(events)
        self._limits, own = limits_in(known), as_of_now(known, self._trial_of)
        self._history = self._states.newest(own, self._limits, self.load)
        for event in own[self._history.events :]:
            self._history.add(event)
            self.algorithms.take_in(event)
        self._suggested = sum(event["event"] == "suggestion" for event in own)
        for name, last in {event["trial"]: event for event in own if event["event"] == "report"}.items():
            if self.record.trials[name].outcome is None:
                self._end_after(name, last["step"], Decision(last["decision"]))
        unfinished = [t for t in self.record.trials.values() if self._mine(t) and t.outcome is None]
        self.pending = [t.name for t in unfinished if not t.paused]
        self._paused = {t.name for t in unfinished if t.paused}

    def ask(self, trial: str) -> Config | None:
        """The next config, its trial's name under "trial"; None while all workers are busy, or at the end.

        An unfinished trial comes first, then a promoted one, then a new one. Where there is none of these and
        nothing is in flight, no report can have a paused trial promoted any more: what the scheduler does not
        finish ends as stopped. Once time is short only what the scheduler finishes goes on.
        """
        with self._step():
            return self._ask(trial)

    def _ask(self, trial: str) -> Config | None:
        if len(self._name) >= self.workers() or self.stopped:
            return None
        if self._states.due(self._history.events):  # now the algorithms have taken in all that was written
            self._states.write(self._history, self.state())
        self.closing = self._closing.is_due(self._to_finish, self.workers)
        if self.pending:
            return self._go_on(trial, self.pending.pop(0))
        if self.closing:
            name = self._finish() if self.algorithms.left() else None
            return self._go_on(trial, name) if name is not None else None
        name = self._released(self.algorithms.promoted(self._paused))
        if name is not None:
            return self._go_on(trial, name)
        config = self._suggest(trial)
        if config is None and (self._suggested >= self.limit or not self._name):
            name = self._finish()
            if name is not None:
                return self._go_on(trial, name)
        if config is None and self._paused and not self._name:
            for left in [t for t in self.record.trials.values() if t.paused and self._mine(t)]:
                self._end(left.name, "stopped", f"paused at step {left.step} to the end")
            config = self._suggest(trial)
        return config

    def decide(
        self,
        trial: str,
        step: int,
        values: Mapping[str, float],
        measurements: Sequence[Mapping[str, Any]] = (),
        notes: Sequence[str] = (),
    ) -> Decision:
        """Journal a report with the decision on it. A step that is known already changes nothing.

        Returns:
            What Tune is to do: CONTINUE, or STOP for a pause too.
        """
        with self._step():
            return self._decide(trial, step, values, measurements, notes)

    def _decide(
        self,
        trial: str,
        step: int,
        values: Mapping[str, float],
        measurements: Sequence[Mapping[str, Any]],
        notes: Sequence[str],
    ) -> Decision:
        name = self._name.get(trial)
        if name is None or step <= self.record.trials[name].step:
            return Decision.CONTINUE
        decision = self.algorithms.scheduler.decide(name, step, values)
        self._write(
            "report",
            trial=name,
            step=step,
            values=dict(values),
            measurements=list(measurements),
            notes=list(notes),
            decision=decision.value,
        )
        self._deaths.pop(name, None)
        self._closing.pace.reported(name, step, self.record.last_time, self.last_step(name))
        self.algorithms.searcher.tell(name, step, values)
        if self._end_after(name, step, decision):
            del self._name[trial]
        elif decision is Decision.PAUSE:
            self._paused.add(self._name.pop(trial))
            return Decision.STOP
        return decision

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Nothing: the searcher was told when the report was decided on."""

    def fail(self, trial: str, reason: str, traceback: str = "") -> None:
        """Record that a trial failed, and why; its traceback, where there is one, is kept in a file."""
        name = self._name.pop(trial, None)
        if name is not None and self.record.trials[name].outcome is None:
            with self._step():
                file = keep_traceback(self.journal.folder, name, traceback)
                self._end(name, "failed", reason, **({"traceback": file} if file else {}))

    def die(self, trial: str, reason: str, traceback: str = "") -> None:
        """A trial's worker died: the trial comes next again, from its last report, or fails of too many.

        Whoever is killed by chance now and then in a long search reports something between.
        """
        name = self._name.get(trial)
        if name is None:
            return
        self._deaths[name] += 1
        if self._deaths[name] > DEATHS:
            times = f"its worker died {self._deaths[name]} times in a row at one step"
            self.fail(trial, f"{times}: {reason}", traceback)
        else:
            self.pending.insert(0, self._name.pop(trial))

    def suspend(self, trial: str, reason: str) -> None:
        """A trial could not save its state: it is not at its end, and the session ends with this reason."""
        self._name.pop(trial, None)
        self.error = self.error or StorageError(reason)

    def lose(self, trial: str, reference: str) -> None:
        """A trial misses what a reference has left: neither is at its end, that one is to be made again."""
        self._name.pop(trial, None)
        self.lost = reference

    def end(self, trial: str, outcome: Outcome) -> None:
        """Tune says that a trial is over: what nobody has said before of one that failed is of its worker."""
        if outcome == "failed":
            self.die(trial, "no reason is known")

    @property
    def stopped(self) -> bool:
        """Whether the trials in flight are to stop where they are, and to go on another time."""
        return self.error is not None or self.journal.lost or bool(self.lost)

    @property
    def complete(self) -> bool:
        """Whether all trials, or all that the space holds, were suggested and have ended."""
        return not (self.has_more or self._name)

    @property
    def in_flight(self) -> int:
        """How many trials are: those that were given out and have neither ended nor paused."""
        return len(self._name)

    @property
    def has_more(self) -> bool:
        """Whether a trial may still be given out, whatever becomes of those in flight."""
        return bool(self.pending or self._paused or not (self._suggested >= self.limit or self._exhausted))

    def state(self) -> dict[str, Any]:
        """The state of both algorithms, plain JSON."""
        return self.algorithms.state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a state."""
        self.algorithms.load(state)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Nothing: Tune pickles what it is given, but a run is restored from its journal."""
        return object, ()

    def _trial_of(self, event: Mapping[str, Any]) -> TrialRecord | None:
        """The trial of an event, where it is one of those that it conducts."""
        trial = self.record.trials.get(event["trial"])
        return trial if trial is not None and self._mine(trial) else None

    def _mine(self, trial: TrialRecord) -> bool:
        return trial.role == self.role and (not self.names or trial.name in self.names)

    def _suggest(self, trial: str) -> Config | None:
        """A new trial's config; None at the limit, or where the searcher has none."""
        if self._suggested >= self.limit:
            return None
        name = self._next_name()
        proposal = self.algorithms.searcher.ask(name)
        if proposal is None:
            # With none in flight or paused, no end of a trial can make room for more.
            self._exhausted = not (self._name or self._paused)
            return None
        self._suggested += 1
        variant = self.variant(proposal)
        self._write(
            "suggestion",
            trial=name,
            role=self.role,
            config=variant.config,
            key=variant.key,
            origin=self.origin(variant.key),
            **({} if proposal == variant.config else {"proposal": proposal}),
            **self.algorithms.worked_out(),
        )
        self._name[trial] = name
        return {"trial": name, **variant.config}

    def _next_name(self) -> str:
        """The first name that no trial has: a journal that was repaired may lack one in the middle."""
        if self.names:
            return next(name for name in self.names if name not in self.record.trials)
        number = self._suggested
        while f"{number:04d}" in self.record.trials:
            number += 1
        return f"{number:04d}"

    def _go_on(self, trial: str, name: str) -> Config:
        """A trial of before, under Tune's name of now."""
        self._name[trial] = name
        self._closing.pace.began(name, self.record.trials[name].step, time.time())
        return {"trial": name, **self.record.trials[name].config}

    def _to_finish(self) -> dict[str, int]:
        """The trials that are to reach their ends, paused or in flight, with their steps."""
        under_way = {name: self.record.trials[name].step for name in self._name.values()}
        return {**self.algorithms.left(), **under_way}

    def _released(self, name: str | None, **fields: Any) -> str | None:
        """A paused trial that goes on, where there is one."""
        if name is not None:
            self._write("promotion", trial=name, **fields, **self.algorithms.worked_out())
            self._paused.remove(name)
        return name

    def _finish(self) -> str | None:
        """A paused trial that goes on, now that no more begin."""
        return self._released(self.algorithms.finished(self._paused), finishing=True)

    def _end_after(self, name: str, step: int, decision: Decision) -> bool:
        """Record the end that a report brings, if it brings one."""
        if decision is Decision.STOP:
            self._end(name, "stopped", f"stopped at step {step}")
        elif step >= self.last_step(name):
            self._end(name, "finished")
        else:
            return False
        return True

    def _end(self, name: str, outcome: Outcome, reason: str = "", **fields: Any) -> None:
        self._write("end", trial=name, outcome=outcome, reason=reason, **fields)
        self._paused.discard(name)
        self.algorithms.end(name, outcome)

    def _write(self, event: str, **fields: Any) -> None:
        line = self.journal.write(event, **fields)
        self._written.append(line)
        self._history.add(line)
        self.record.apply(line)

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """What is written while it lasts is stored at its end, and only then anybody hears of it."""
        try:
            with self.journal.together():
                yield
        except (StorageError, LeaseLost) as error:
            self.error = error
            raise
        finally:
            written, self._written = self._written, []
        for line in written:
            self.listener(line)
