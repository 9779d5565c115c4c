"""What a run found, read from its journal and nothing else."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from raysearch import storage
from raysearch.basics.failures import MissingFile, UserError
from raysearch.metrics import ERROR, OWN, TEST, base
from raysearch.record import journal
from raysearch.record.choices import compared_by
from raysearch.record.journal import Event
from raysearch.record.predictions import predicted_targets
from raysearch.record.remarks import remarks
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.schema import check_begun
from raysearch.record.scores import (
    Scores,
    final_front,
    goals_of,
    is_complete,
    violation_of,
)
from raysearch.record.ties import tied_with
from raysearch.record.verdicts import verdict_columns
from raysearch.storage import Place, folder_of

#: What the search saw of a metric, where a later figure of it stands in its own column.
SEARCHED = "searched_"
#: A config's keys: what a column of one begins with.
SECTIONS = ("architecture", "pruning", "bits", "teacher", "training")


class RunResult:
    """The results of a run folder, finished or not.

    Args:
        folder: the run folder, a path or a URL such as "s3://bucket/runs/digits"; its journal is read once.

    Attributes:
        folder: the run folder.
        record: the run, trial by trial.
        goals: objectives and constraints, read against what the search knew of the parent.

    Raises:
        MissingFile: the folder holds no journal.
        ValueError: its journal is empty or of a later version.
    """

    def __init__(self, folder: str | Place) -> None:
        self.folder = folder_of(folder)
        self.record = RunRecord()
        ended: list[tuple[TrialRecord, float]] = []
        scores = Scores(self.record)
        clock = WorkClock()
        for number, event in enumerate(journal.read(self.folder)):
            self.record.apply(event)
            if not number:
                check_begun(self.record.header, True, self.folder)
            clock.tick(event)
            trial = self.record.trials.get(event.get("trial", ""))
            if event["event"] == "end" and trial is not None and trial.role == "trial":
                ended.append((trial, clock.seconds))
        if not self.record.header:
            check_begun({}, False, self.folder)
        self.seconds = clock.seconds
        self.goals = goals_of(self.record)
        self._history: list[tuple[int, float, float]] = []
        for trial, seconds in ended:  # by the limits that hold at last
            scores.add(trial)
            self._history.append((len(self._history) + 1, seconds, scores.hypervolume))
        front = final_front(self.record, scores.front)
        first = self.goals.objectives[0]
        self._front = sorted(front, key=lambda t: t.values[first.metric], reverse=first.maximize)

    @property
    def study(self) -> Mapping[str, Any]:
        """The resolved study, as the study file spells it."""
        study: Mapping[str, Any] = self.record.header["study"]
        return study

    @property
    def epochs(self) -> int:
        """The epochs of a trial that is not stopped early."""
        return self.goals.last_step - 1

    @property
    def complete(self) -> bool:
        """Whether the search ran to its end; otherwise ``raysearch resume`` goes on with it."""
        return bool(self.record.sessions) and self.record.sessions[-1]["action"] == "finish"

    @property
    def ending(self) -> str:
        """How the last session ended: "finish", "timeout", "interrupt", "storage" or "error".

        Of "storage" there was no room, or it did not answer. It is "running" where nothing says so.
        """
        action = str(self.record.sessions[-1]["action"]) if self.record.sessions else "running"
        return "running" if action in ("start", "resume") else action

    @property
    def remarks(self) -> list[str]:
        """Sentences on what the figures do not say: an objective without values, a used-up space."""
        return remarks(self.record)

    @property
    def front_records(self) -> list[TrialRecord]:
        """The front, best in the first objective first; the parent is among them unless it is dominated."""
        return list(self._front)

    @property
    def failed(self) -> list[TrialRecord]:
        """The trials and references that failed, in the order of suggestion."""
        return [t for t in self.record.trials.values() if t.outcome == "failed"]

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial and reference, a row each: outcome, metrics, config (columns such as "training/lr").

        A metric's column has the best figure that there is: that measured after the search, where it was.
        "searched_latency_ms/TARGET" has what the search saw, of all trials. "predicted" names the targets
        whose latencies were never measured.
        """
        front, trials = {t.name for t in self._front}, list(self.record.trials.values())
        seen = [(t, t.searched_values) for t in trials]
        again = {metric for t, values in seen for metric in t.final.keys() & values.keys()}
        rows = [
            {
                **self._row(t, t.name in front),
                "predicted": " ".join(predicted_targets(t)),
                **{f"{SEARCHED}{metric}": values[metric] for metric in sorted(again & values.keys())},
            }
            for t, values in seen
        ]
        return self._ordered(rows)

    @property
    def front(self) -> pd.DataFrame:
        """The front, best in the first objective first.

        Besides the metrics and the config: how many times faster and smaller than the parent each variant is,
        whether that is more than the noise ("faster" or "not faster"), the same against the parent's static
        int8 form, for each of the task's metrics which others the test split cannot tell it from
        ("tied_accuracy"), and remarks.
        """
        rows = []
        known = {metric for trial in self._front for metric in trial.parts}
        tested = [metric for metric in self.record.metrics if metric in known]
        for trial in self._front:
            row = self._row(trial, True)
            for column in (
                "role",
                "outcome",
                "reason",
                "complete",
                "feasible",
                "violation",
                "front",
                "epochs",
            ):
                del row[column]
            row["is_parent"] = trial.role == "reference"
            row.update(verdict_columns(self.record, trial, self.record.targets))
            row |= {f"tied_{m}": " ".join(tied_with(trial, self._front, m)) for m in tested}
            row["notes"] = "; ".join(trial.notes)
            rows.append(row)
        return self._ordered(rows)

    def _row(self, trial: TrialRecord, on_front: bool) -> dict[str, Any]:
        violation = violation_of(self.record, trial)
        return {
            "trial": trial.name,
            "role": trial.role,
            "origin": trial.origin,
            "outcome": _outcome(trial),
            "reason": trial.reason,
            "epochs": sum(step > 0 for step in trial.reports) - is_complete(trial, self.goals),
            "complete": is_complete(trial, self.goals),
            "feasible": violation == 0,
            "violation": violation,
            "front": on_front,
            "seconds": round(trial.ended - trial.started, 3) if trial.ended else float("nan"),
            **trial.values,
            **_flat(trial.config),
        }

    def _ordered(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        """A frame whose columns stand in groups: the trial, its metrics, comparisons, then its config."""
        objectives, known = self.goals.metrics, dict.fromkeys(column for row in rows for column in row)
        columns = [*(m for m in objectives if m in known), *(c for c in known if c not in objectives)]
        metrics = {*OWN, *self.record.metrics}

        def group(column: str) -> int:
            if column.split("/")[0] in SECTIONS and "/" in column:
                return 3
            if base(column) in metrics and not column.startswith((TEST, ERROR)):
                return 1
            late = (TEST, ERROR, SEARCHED, "tied_", "times_", "verdict", "notes", "loss")
            return 2 if column.startswith(late) else 0

        frame = pd.DataFrame(rows, columns=sorted(columns, key=group))
        return frame if rows else pd.DataFrame(columns=["trial"])

    @property
    def parent(self) -> pd.Series[Any]:
        """The parent's row of ``trials``.

        Raises:
            ValueError: the run ended before its parent was made.
        """
        if self.record.parent is None:
            raise UserError(f"{self.folder} has no parent yet: the run ended before it was made")
        rows = self.trials
        return rows[rows["trial"] == "parent"].iloc[0]

    def hypervolume(self) -> pd.DataFrame:
        """The hypervolume after each trial that ended, in units of the parent.

        Returns:
            Columns "trials" (ended so far), "seconds" (of work; pauses between sessions are left out) and
            "hypervolume" (up to the reference point that ``raysearch.record.scores`` tells of).
        """
        return pd.DataFrame(self._history, columns=["trials", "seconds", "hypervolume"])

    def export(self, folder: str | Path) -> Path:
        """Copy the front's variant folders and front.csv, ready to deploy.

        Beside them front.json says by which metric the variants are compared, and whether more is better.

        Raises:
            MissingFile: a variant's folder is missing from the run.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for trial in self._front:
            try:
                with storage.fetched(self.folder / "variants" / trial.name) as source:
                    shutil.copytree(source, target / trial.name, dirs_exist_ok=True)
            except MissingFile as error:
                raise MissingFile(f"variant {trial.name} cannot be exported: {error}") from None
        self.front.to_csv(target / "front.csv", index=False)
        metric = compared_by(self.record)
        said = {"metric": metric, "higher_is_better": self.goals.higher_is_better(metric)}
        (target / "front.json").write_text(json.dumps(said) + "\n")
        return target

    def study_file(self) -> str:
        """The resolved study as YAML, with the number of trials that the last session was to start."""
        study = dict(self.study)
        asked = [s["num_trials"] for s in self.record.sessions if "num_trials" in s]
        if asked and asked[-1] is not None:
            study["search"] = {"num_trials": asked[-1], **study["search"]}
        elif asked and self.record.sessions[-1].get("max_minutes"):
            minutes = self.record.sessions[-1]["max_minutes"]
            study["search"] = {"max_minutes": minutes, **study["search"]}
        return yaml.safe_dump(study, sort_keys=False, default_flow_style=None, width=100)

    def write_tables(self) -> None:
        """Write study.yaml (resolved), trials.csv and front.csv into the run folder."""
        storage.write(self.folder / "study.yaml", self.study_file())
        storage.write(self.folder / "trials.csv", self.trials.to_csv(index=False))
        storage.write(self.folder / "front.csv", self.front.to_csv(index=False))

    def counts(self) -> dict[str, int]:
        """How many searched trials finished, stopped, failed, wait to go on, and were left unfinished."""
        outcomes = [_outcome(trial) for trial in self.record.searched()]
        names = ("finished", "stopped", "failed", "waiting", "unfinished")
        return {name: outcomes.count(name) for name in names}

    @property
    def untrained(self) -> int:
        """How many of those that were stopped ended before their first epoch."""
        return sum(trial.untrained for trial in self.record.searched())

    def __repr__(self) -> str:
        counts = self.counts()
        done = ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "no trial"
        name = type(self).__name__
        return f"{name}({str(self.folder)!r}: a front of {len(self._front)} from {done})"

    def _repr_html_(self) -> str:
        columns = [c for c in summary_columns(self) if c in self.front]
        table = self.front[columns].to_html(index=False, float_format=lambda v: f"{v:.4g}", border=0)
        said = "".join(f"<p>{html.escape(remark)}</p>" for remark in self.remarks)
        return f"<p>{html.escape(repr(self))}</p>{said}{table}"


def summary_columns(result: RunResult) -> list[str]:
    """The columns of the front that a person reads first."""
    targets = result.record.targets
    speed = [f"{column}/{target}" for target in targets for column in ("times_faster", "verdict")]
    tested = [f"{TEST}{name}" for name in result.record.metrics]
    return ["trial", *result.goals.metrics, *tested, *speed, "times_smaller"]


class WorkClock:
    """The seconds a run was worked on: from its first event on, without the pauses between sessions."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: float | None = None

    def tick(self, event: Event) -> None:
        """Take the next event in."""
        resumed = event["event"] == "session" and event["action"] == "resume"
        if self._last is not None and not resumed:
            self.seconds += max(0.0, event["time"] - self._last)
        self._last = event["time"]


def _outcome(trial: TrialRecord) -> str:
    return trial.outcome or ("waiting" if trial.paused else "unfinished")


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
