"""One of the two studies really searched, for as long as a number of full trainings takes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import Floats
from benchmarks.recorded.by_hand import recipe
from benchmarks.recorded.studies import OBJECTIVES, TARGET, study_of
from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.record.journal import FILE_NAME, read
from raysearch.record.run_record import RunRecord
from raysearch.record.scores import REFERENCE_MARGIN, is_complete

_MOST = 40  # full trainings
_START = 45.0  # seconds before the first trial where the references are taken over from an earlier run
_METRICS = ("accuracy", f"latency_ms/{TARGET}", "size_mb")


@dataclass(frozen=True)
class Trained:
    """A run that was searched.

    Attributes:
        record: of its journal.
        unit: the seconds of one full training of the parent in int8, in one of the workers.
    """

    record: RunRecord
    unit: float

    @property
    def parent(self) -> Floats:
        """Its accuracy, latency and size."""
        assert self.record.parent is not None
        values = self.record.parent.searched_values
        return np.array([values[metric] for metric in _METRICS])

    def within(self, seconds: float) -> Floats:
        """Accuracy, latency and size of the trials that finished so soon after the search began."""
        goals = Goals.parse(OBJECTIVES, last_step=self.record.header["study"]["search"]["epochs"] + 1)
        searched = self.record.searched()
        begun = min(trial.started for trial in searched)
        done = [t for t in searched if is_complete(t, goals) and (t.ended or np.inf) - begun <= seconds]
        rows = [[t.searched_values[metric] for metric in _METRICS] for t in done]
        return np.array(rows, dtype=np.float64).reshape(-1, 3)

    def hypervolume(self, points: Floats) -> float:
        """In units of the parent, as a report has it."""
        return hypervolume(points * [-1, 1, 1] / self.parent, np.array([-1, 1, 1]) + REFERENCE_MARGIN)


def trained(
    name: str,
    searcher: str,
    scheduler: str,
    screen: int,
    seed: int,
    unit: float | None,
    options: argparse.Namespace,
) -> Trained:
    """Search, or go on with the run that lies there; the recipe says how long a full training takes.

    Args:
        name: of the study.
        searcher: its name, or "by_hand" for the recipe.
        scheduler: its name.
        screen: candidates for each trial that trains.
        seed: of the study.
        unit: the seconds of a full training, where they are known.
        options: ``data`` and ``runs``.
    """
    folder = options.runs / f"{name}-{seed}" / searcher
    if _is_over(folder):
        return Trained(RunRecord.load(folder), unit or _seconds_of_first(folder))
    method = {"scheduler": scheduler, "screen": screen, "seed": seed}
    if searcher == "by_hand":
        plain = study_of(name, options.data)
        configs = list(recipe(plain.space, plain.parent))[:_MOST]
        study, trials = study_of(name, options.data, evaluate_first=configs, **method), len(configs)
        study.run(num_trials=trials, folder=folder)
    else:
        assert unit is not None
        study = study_of(name, options.data, searcher=searcher, **method)
        study.run(folder=folder, max_minutes=(_MOST * unit / 2 + _START) / 60)
    return Trained(RunRecord.load(folder), unit or _seconds_of_first(folder))


def _is_over(folder: Path) -> bool:
    """Whether a run lies there that had all its time."""
    if not (folder / FILE_NAME).exists():
        return False
    return any(session["action"] in ("finish", "timeout") for session in RunRecord.load(folder).sessions)


def _seconds_of_first(folder: Path) -> float:
    """What the first trial took; its worker started in its step 0, so that of the others counts for it."""
    events = [event for event in read(folder) if event.get("trial", "").isdigit()]
    begun = {e["trial"]: e["time"] for e in events if e["event"] == "suggestion"}
    measured = {e["trial"]: e["time"] for e in events if e["event"] == "report" and e["step"] == 0}
    ended = {e["trial"]: e["time"] for e in events if e["event"] == "end"}
    first, *others = begun
    waited = [measured[trial] - begun[trial] for trial in others if trial in measured]
    return float(ended[first] - measured[first] + np.median(waited))
