"""``raysearch dashboard``: a run as a study of Optuna, live, in optuna-dashboard.

A trial that finished is COMPLETE, one that was stopped PRUNED, one that failed FAIL. A config's searched
settings are its parameters, every metric and where it came from its user attributes; the first of the task's
metrics, epoch by epoch, its intermediate values.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from raysearch.basics import extras
from raysearch.basics.failures import UserError
from raysearch.record.journal import Event
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.scores import goals_of
from raysearch.search_spaces import domains
from raysearch.storage import Place
from raysearch.study_file.space_text import parse_space
from raysearch.watching.following import Followed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

_HOST = "127.0.0.1"
_EVERY_S = 2.0  # between two looks at the journal
_PLAIN = (str, int, float, bool, type(None))  # what a category of Optuna may be


class Mirror:
    """A run's record as a study in a storage of Optuna, kept up to date event by event.

    A study of Optuna has its objectives for ever: where the run's limits change, the next one begins.

    Args:
        record: with its header; each event is applied to it before ``take`` is told of it. What it holds
            already is taken over at once.
        name: of the study.
    """

    def __init__(self, record: RunRecord, name: str) -> None:
        from optuna.storages import InMemoryStorage

        self.storage: BaseStorage = InMemoryStorage()
        self._record, self._name = record, name
        self._outdated = False  # whether the study is, by limits that changed
        self._studies = 1
        space = parse_space(record.header["study"].get("space", {}))
        self._values = {"/".join(path): values for path, values in domains.read(space).items()}
        self._begin(name)

    def _begin(self, name: str) -> None:
        """Begin a study of all trials under the limits that hold now."""
        from optuna.study import StudyDirection

        self._ids: dict[str, int] = {}
        self._objectives = goals_of(self._record).objectives
        directions = [
            StudyDirection.MAXIMIZE if o.maximize else StudyDirection.MINIMIZE for o in self._objectives
        ]
        self._study = self.storage.create_new_study(directions, name)
        # As Study.set_metric_names stores them.
        metrics = [o.metric for o in self._objectives]
        self.storage.set_study_system_attr(self._study, "study:metric_names", metrics)
        for trial in self._record.trials.values():
            self._add(trial)

    def take(self, event: Event) -> None:
        """Take in an event that was applied to the record."""
        if event["event"] in ("limits", "measured"):
            self._outdated = True
        if self._outdated:
            self._begin_anew(event)
        else:
            self._take(event)

    def _begin_anew(self, event: Event) -> None:
        """Begin the next study, once all figures that other limits need have come."""
        kind, action = event["event"], event.get("action")
        if kind not in ("limits", "measured") and action != "resume":
            self._outdated = False
            self._studies += 1
            self._begin(f"{self._name}, {self._studies}")

    def _take(self, event: Event) -> None:
        trial = self._record.trials.get(event.get("trial", ""))
        if trial is None:
            return
        if event["event"] == "suggestion":
            self._add(trial)
        elif event["event"] == "report":
            self._report(trial, event["step"])
        elif event["event"] == "end":
            self._end(trial)

    def _add(self, trial: TrialRecord) -> None:
        self._ids[trial.name] = self.storage.create_new_trial(self._study, self._frozen(trial))

    def _report(self, trial: TrialRecord, step: int) -> None:
        number, values = self._ids[trial.name], trial.reports[step]
        shown = self._shown(values)
        if shown is not None:
            self.storage.set_trial_intermediate_value(number, step, shown)
        for name, value in values.items():
            self.storage.set_trial_user_attr(number, name, value)

    def _end(self, trial: TrialRecord) -> None:
        number, frozen = self._ids[trial.name], self._frozen(trial)
        for name, value in frozen.user_attrs.items():
            self.storage.set_trial_user_attr(number, name, value)
        for name, value in frozen.system_attrs.items():
            self.storage.set_trial_system_attr(number, name, value)
        self.storage.set_trial_state_values(number, frozen.state, frozen.values)

    def _frozen(self, trial: TrialRecord) -> FrozenTrial:
        """A trial as it stands, in Optuna's form."""
        from optuna.trial import FrozenTrial, TrialState

        goals, parameters = goals_of(self._record), self._parameters(trial)
        values = [trial.values.get(o.metric, math.nan) for o in self._objectives]
        known = all(map(math.isfinite, values))
        state = {
            None: TrialState.RUNNING,
            "finished": TrialState.COMPLETE if known else TrialState.PRUNED,
            "stopped": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }[trial.outcome]
        complete = state is TrialState.COMPLETE
        said = {"trial": trial.name, "role": trial.role, "origin": trial.origin, "reason": trial.reason}
        curve = {step: self._shown(reported) for step, reported in trial.reports.items()}
        return FrozenTrial(
            number=-1,  # the storage's to say
            trial_id=-1,
            state=state,
            value=None,
            values=values if complete else None,
            datetime_start=datetime.fromtimestamp(trial.started),
            datetime_complete=datetime.fromtimestamp(trial.ended) if trial.ended else None,
            params=parameters,
            distributions={name: distribution(self._values[name]) for name in parameters},
            user_attrs={**{k: v for k, v in said.items() if v}, **trial.values},
            # As Optuna's samplers store what breaks a constraint: above 0.
            system_attrs={"constraints": [goals.violation(trial.values, trial.step)]} if complete else {},
            intermediate_values={step: value for step, value in curve.items() if value is not None},
        )

    def _shown(self, values: Mapping[str, float]) -> float | None:
        return values.get(next(iter(self._record.metrics)))

    def _parameters(self, trial: TrialRecord) -> dict[str, Any]:
        """The settings that were searched, where they are active and what their domain gives."""
        found = {}
        for name, values in self._values.items():
            value = _at(trial.config, name)
            if value is not None and domains.contains(values, value):
                found[name] = category(value) if isinstance(values, domains.Choices) else value
        return found


def distribution(values: domains.Values) -> BaseDistribution:
    """What a domain draws, as Optuna describes it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, domains.Choices):
        return CategoricalDistribution([category(value) for value in values.values])
    if values.integer:
        step = 1 if values.log else int(values.step or 1)
        return IntDistribution(int(values.low), int(values.high), log=values.log, step=step)
    return FloatDistribution(
        values.low, values.high, log=values.log, step=None if values.log else values.step
    )


def category(value: Any) -> Any:
    """A choice as Optuna takes one: what is no plain value is spelled out."""
    return value if isinstance(value, _PLAIN) else json.dumps(value, sort_keys=True, default=str)


def _at(config: Mapping[str, Any], name: str) -> Any:
    value: Any = config
    for key in name.split("/"):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


@contextmanager
def served(folder: Place, port: int) -> Iterator[tuple[str, Followed, Mirror]]:
    """A run's dashboard, on this machine alone, while the context lasts.

    Args:
        folder: of the run.
        port: where it listens, in 0..65535; 0 for a free one.

    Yields:
        Its address, the run as it is followed, and the mirror that is to be told of its news.

    Raises:
        MissingExtra: optuna-dashboard is not installed.
        UserError: the port is taken, or the folder holds no run.
    """
    dashboard = extras.load("optuna_dashboard", "dashboard")
    logging.getLogger("optuna").setLevel(logging.WARNING)
    run = Followed(folder)
    run.begin()
    mirror = Mirror(run.record, folder.name)
    try:
        server = make_server(_HOST, port, dashboard.wsgi(mirror.storage), _Server, _Silent)
    except (OSError, OverflowError) as error:
        raise UserError(f"--port is {port}, which cannot be listened on ({error}): give another") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{_HOST}:{server.server_port}/", run, mirror
    finally:
        server.shutdown()
        server.server_close()


def keep_up(run: Followed, mirror: Mirror) -> None:
    """Tell the mirror of what comes, for ever."""
    while True:
        for event in run.news():
            mirror.take(event)
        time.sleep(_EVERY_S)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a browser that looks every few seconds would fill the terminal."""
