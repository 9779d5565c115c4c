"""What a run's journal says, event by event: the run, its trials, and the limits that changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raysearch.basics.names import name_of_target
from raysearch.basics.outcome import Outcome
from raysearch.metrics import DEFAULT, Metric, find, is_static
from raysearch.record.journal import read
from raysearch.record.schema import OF_A_TRIAL, Event
from raysearch.storage import Place

_BEFORE_SEARCHERS = ("given", "design")  # origins of what trains whatever the screen

LIMITS = ("objectives", "constraints", "targets")
"""What of a study may change between two sessions of its run besides the budget."""


@dataclass
class TrialRecord:
    """What the journal says of one trial.

    Attributes:
        name: the trial's name in the journal.
        role: "reference" or "trial".
        config: the canonical config.
        proposal: what the searcher gave, inactive parameters included; 0.1.0 kept the canonical config alone.
        key: identifies the canonical form.
        origin: who proposed it ("design", "nsga2", ...).
        reports: the values at each step, in the order of arrival.
        measurements: every measurement its reports carried.
        paused: it waits to be promoted.
        notes: remarks of the trial ("bits 2 run no faster than 8 in onnxruntime-cpu").
        outcome: None while it runs or waits.
        reason: why it stopped or failed.
        traceback: the file in the run's folder that keeps the traceback of its failure; empty without one.
        final: values measured after the search (latency again, the test split); empty if it was not.
        parts: the task's metrics on parts of the test split, by metric: what ``record.ties`` reads.
        later: values measured on targets that came later; of the task's metrics also the worst over them all.
        asked: those targets on which it was measured, whatever came of it.
        outdated: whether a target came after its final figures, which lack that one.
        started, ended: seconds since the epoch.
    """

    name: str
    role: str
    config: dict[str, Any]
    key: str
    origin: str
    started: float
    proposal: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, dict[str, float]] = field(default_factory=dict)
    measurements: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    paused: bool = False
    outcome: Outcome | None = None
    reason: str = ""
    traceback: str = ""
    final: dict[str, float] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)
    later: dict[str, float] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    outdated: bool = False
    ended: float | None = None

    @property
    def step(self) -> int:
        """The last step reported, -1 before the first."""
        return max(self.reports, default=-1)

    @property
    def untrained(self) -> bool:
        """Whether it was stopped before its first epoch, as a candidate that was measured and not chosen."""
        return self.outcome == "stopped" and self.step <= 0

    @property
    def figures(self) -> dict[int, dict[str, float]]:
        """What is known of it at each step: its reports, and what was measured on targets that came later.

        The latter would have been in its first report, or where training decides on it in its last.
        """
        if not self.later or not self.reports:
            return self.reports
        known = {step: dict(values) for step, values in self.reports.items()}
        for metric, value in self.later.items():
            known[min(known) if is_static(metric) else self.step][metric] = value
        return known

    @property
    def searched_values(self) -> dict[str, float]:
        """The latest value of every metric, without what was measured after the search."""
        merged: dict[str, float] = {}
        for _, values in sorted(self.figures.items()):
            merged.update(values)
        return merged

    @property
    def values(self) -> dict[str, float]:
        """The latest value of every metric known so far; final figures win."""
        return {**self.searched_values, **self.final}


@dataclass(frozen=True)
class Change:
    """Limits that were changed between two sessions.

    Attributes:
        ended: how many of the searched trials had ended by then.
        before, after: the study's objectives, constraints and targets.
    """

    ended: int
    before: Mapping[str, list[Any]]
    after: Mapping[str, list[Any]]

    @property
    def targets(self) -> list[str]:
        """The names of the targets that came."""
        known = _names(self.before["targets"])
        return [name for name in _names(self.after["targets"]) if name not in known]


def _names(targets: Iterable[Any]) -> list[str]:
    return [str(name_of_target(target)) for target in targets]


@dataclass
class RunRecord:
    """The state of a run, built event by event from its journal.

    Attributes:
        header: the event ``run``, its study with the limits that hold now; empty before it.
        trials: by name, references among them, in the order of suggestion.
        sessions: the events that begin and end each session.
        changes: of the limits, in their order.
        others: events of kinds that are not the journal's own.
        last_time: of the last event, seconds since the epoch.
    """

    header: Event = field(default_factory=dict)
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    sessions: list[Event] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    others: list[Event] = field(default_factory=list)
    last_time: float = 0.0

    @property
    def targets(self) -> list[str]:
        """The names of the study's targets, in its order."""
        return _names(self.header["study"]["targets"])

    @property
    def later_targets(self) -> list[str]:
        """The names of those that came later than the run began, and are still among its targets."""
        came = dict.fromkeys(name for change in self.changes for name in change.targets)
        return [name for name in came if name in self.targets]

    @property
    def most_trials(self) -> float:
        """How many trials the last session may suggest, screened ones counted; inf: any number."""
        budgets = [session["num_trials"] for session in self.sessions if "num_trials" in session]
        trials = budgets[-1] if budgets else None
        if trials is None:
            return math.inf
        screen = self.screen
        at_once = min(trials, sum(trial.origin in _BEFORE_SEARCHERS for trial in self.searched()))
        return float(at_once + screen * (trials - at_once))

    @property
    def screen(self) -> int:
        """How many candidates come for each that trains."""
        return int(self.header.get("study", {}).get("search", {}).get("screen") or 1)

    @classmethod
    def load(cls, folder: Place) -> RunRecord:
        """Read a whole journal."""
        record = cls()
        for event in read(folder):
            record.apply(event)
        return record

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take one event in. A report that repeats a step already known changes nothing.

        Raises:
            ValueError: the event is of a trial that was never suggested.
        """
        self.last_time = event["time"]
        kind = event["event"]
        if kind == "run":
            self.header = dict(event)
        elif kind == "session":
            self.sessions.append(dict(event))
        elif kind == "limits":
            self._change(event)
        elif kind == "suggestion":
            self.trials[event["trial"]] = TrialRecord(
                name=event["trial"],
                role=event["role"],
                config=event["config"],
                proposal=event.get("proposal", event["config"]),
                key=event["key"],
                origin=event["origin"],
                started=event["time"],
            )
        elif kind not in OF_A_TRIAL:
            self.others.append(dict(event))
        elif event["trial"] not in self.trials:
            raise ValueError(f"the journal has a {kind} of trial {event['trial']!r} before its suggestion")
        else:
            self._update(self.trials[event["trial"]], event)

    def _change(self, event: Mapping[str, Any]) -> None:
        """Let other limits hold."""
        study = self.header.get("study", {})
        before, after = ({name: list(said.get(name, ())) for name in LIMITS} for said in (study, event))
        change = Change(sum(t.outcome is not None for t in self.searched()), before, after)
        self.changes.append(change)
        if self.header:
            self.header = {**self.header, "study": {**study, **after}}
        if change.targets:
            for trial in self.trials.values():
                trial.outdated = bool(trial.final)

    def _update(self, trial: TrialRecord, event: Mapping[str, Any]) -> None:
        if event["event"] == "report":
            if event["step"] not in trial.reports:
                trial.reports[event["step"]] = dict(event["values"])
                trial.measurements += event.get("measurements", [])
                trial.paused = event.get("decision") == "pause"
        elif event["event"] == "promotion":
            trial.paused = False
        elif event["event"] == "end":
            trial.paused = False
            trial.outcome, trial.reason, trial.ended = (
                event["outcome"],
                event.get("reason", ""),
                event["time"],
            )
        elif event["event"] == "final":
            trial.final.update(event["values"])
            trial.outdated = trial.outdated and not event["values"]
            trial.parts.update(event.get("parts", {}))
            trial.measurements += event.get("measurements", [])
        elif event["event"] == "measured":
            trial.later.update(event["values"])
            trial.asked.add(event["target"])
            trial.measurements += event.get("measurements", [])
        trial.traceback = event.get("traceback", trial.traceback)
        trial.notes += [n for n in event.get("notes", []) if n not in trial.notes]

    @property
    def metrics(self) -> dict[str, str]:
        """The task's metrics, the first one first, with their units."""
        return dict(self.header.get("metrics", DEFAULT))

    def metric(self, key: str) -> Metric:
        """What is known of the metric behind a key of this run."""
        return find(key, self.metrics)

    @property
    def parent(self) -> TrialRecord | None:
        """The parent's record, None before it was suggested."""
        return self.trials.get("parent")

    def searched(self) -> list[TrialRecord]:
        """The trials that were searched (references left out), in the order of suggestion."""
        return [t for t in self.trials.values() if t.role == "trial"]
