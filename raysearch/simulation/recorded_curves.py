"""The learning curves of a finished run, to try schedulers on without training anything.

    from pathlib import Path

    from raysearch.objectives import Goals
    from raysearch.simulation.recorded_curves import curves_of
    from raysearch.schedulers.successive_halving import SuccessiveHalving
    from raysearch.searchers.fixed import FixedList
    from raysearch.simulation.cluster import simulate

    curves = curves_of(Path("runs/digits"))
    goals = Goals.parse(["maximize accuracy", "minimize size_mb"], last_step=curves.problem.last_step)
    halving = SuccessiveHalving(goals, max_step=curves.problem.last_step - 1)
    trials = len(curves.configs)
    run = simulate(curves.problem, FixedList(curves.configs), halving, workers=4, max_trials=trials)
    print(run.spent, "seconds of work;", list(run.outcomes.values()).count("finished"), "finished")

The run should have been made with ``scheduler: full_training``: of a trial that was stopped nobody knows how
it would have gone on, and what finished under early stopping is the better part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raysearch.basics.failures import UserError
from raysearch.record.journal import read
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.searchers.base import Config
from raysearch.simulation.problem import Problem


@dataclass(frozen=True)
class RecordedCurves:
    """A run's curves.

    Attributes:
        problem: reports what the journal has for a config at a step, nothing at a step that it lacks. A step
            costs the trial's median seconds from one report to the next, or 1 where there is no such figure.
        configs: of the trials that finished, in the order of their suggestion.
        left_out: how many searched trials did not finish, and are not among them.
    """

    problem: Problem
    configs: list[Config]
    left_out: int


def curves_of(run_folder: Path) -> RecordedCurves:
    """Read the curves of a run's finished trials from its journal; references are no trials.

    Raises:
        MissingFile: the folder holds no journal.
        ValueError: no trial finished, or the journal is damaged.
    """
    record, times = RunRecord(), dict[str, list[float]]()
    for event in read(run_folder):
        record.apply(event)
        if event["event"] == "report":
            times.setdefault(event["trial"], []).append(event["time"])
    searched = record.searched()
    finished = [trial for trial in searched if trial.outcome == "finished" and trial.reports]
    if not finished:
        raise UserError(f"{run_folder} has no finished trial: its journal holds no whole curve to replay")
    by_config = {_key(trial.config): trial for trial in finished}
    seconds = {_key(trial.config): _seconds_a_step(times[trial.name]) for trial in finished}
    problem = Problem(
        values=lambda config, step: _values(by_config, config, step),
        last_step=max(trial.step for trial in finished),
        first_step=min(min(trial.reports) for trial in finished),
        cost=lambda config, step: seconds[_key(config)],
    )
    configs = [trial.config for trial in by_config.values()]
    return RecordedCurves(problem, configs, left_out=len(searched) - len(finished))


def _values(trials: Mapping[str, TrialRecord], config: Config, step: int) -> Mapping[str, float]:
    return trials[_key(config)].figures.get(step, {})


def _key(config: Config) -> str:
    return json.dumps(config, sort_keys=True)


def _seconds_a_step(times: list[float]) -> float:
    """The median, so that a night between two sessions is no slow epoch; 1 where there is none."""
    seconds = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return seconds if seconds > 0 else 1.0
