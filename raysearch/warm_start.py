"""Configs to evaluate first, from earlier runs whose space or objectives may differ.

start = warm_start(["runs/digits"], parameters, goals, count=8)
searcher = NSGA2(parameters, goals, initial=start.configs)

The values of an earlier run are comparable with one another, not with those of a run on another task or
machine: each run is ranked by itself, and their best configs take turns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from raysearch.basics.failures import UserError
from raysearch.objectives import Goals
from raysearch.pareto import priority
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.schema import check_begun
from raysearch.search_spaces.domains import merged
from raysearch.searchers.base import Config
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.recorded import Answer
from raysearch.storage import Place, folder_of

# What two studies must agree in for the figures of one to hold in the other.
_SAME = ("task", "parent", "targets")


@dataclass(frozen=True)
class WarmStart:
    """What earlier runs give to a new one.

    Attributes:
        configs: the best, best first, no variant twice; only searched parameters, and some may be lacking.
        known: finished trials whose figures hold in the new run as they are, for ``Recorded``.
        found: how many trials the earlier runs hold, failed ones left out.
        illegal: how many of them have a value that the new space does not allow, or none that it searches.
    """

    configs: list[Config]
    known: list[tuple[Config, Answer]]
    found: int
    illegal: int


def warm_start(
    folders: Sequence[str | Place],
    parameters: Sequence[Parameter],
    goals: Goals,
    *,
    count: int,
    complete: Callable[[Config], Config] = lambda config: config,
    key: Callable[[Config], str] = lambda config: json.dumps(config, sort_keys=True),
    run: Mapping[str, Any] | None = None,
) -> WarmStart:
    """Read the journals of earlier runs and rank what is legal in the new space under the new goals.

    Finished trials come first, then those stopped early, both by rank and epsilon net; then those that lack
    one of the objectives, in the order in which they were made.

    Args:
        folders: run folders.
        parameters: the new space.
        goals: the new goals; a limit relative to the parent counts once the parent's figures are in them.
        count: how many configs to give at most, >= 1.
        complete: fills in what a config lacks; it may raise ValueError for one that cannot be.
        key: of the canonical form of a completed config.
        run: the new run's first line in its journal: the study, the software, the machine. Where an earlier
            run agrees with it, its finished trials of the same key are known; None: nothing is.

    Raises:
        MissingFile: a folder holds no journal.
        ValueError: no folder, count < 1, a damaged journal, or nothing in them is legal in the new space.
    """
    if isinstance(folders, str | Path) or not folders:
        raise UserError(f"warm start from {folders!r}: give a list of at least one run folder")
    if count < 1:
        raise UserError(f"count is {count}: a warm start takes at least 1 config")
    encoding = Encoding(parameters)
    records = [RunRecord.load(folder_of(folder)) for folder in folders]
    for record, folder in zip(records, folders, strict=True):
        check_begun(record.header, bool(record.trials or record.sessions), folder)
    trials = [[t for t in record.searched() if t.outcome not in (None, "failed")] for record in records]
    configs: dict[str, Config] = {}
    reasons: list[str] = []
    known: dict[str, tuple[Config, Answer]] = {}
    for record, trial in _in_turn(records, trials, goals):
        try:
            config = _projected(merged(trial.config, trial.proposal), encoding)
            completed = complete(config)
            identity = key(completed)
        except ValueError as error:
            reasons.append(str(error))
            continue
        configs.setdefault(identity, config)
        if identity == trial.key and trial.outcome == "finished" and _comparable(record.header, run):
            known.setdefault(identity, (completed, Answer(sorted(trial.figures.items()), "finished")))
    if not configs:
        why = reasons[0] if reasons else "they hold no trial that ended"
        raise UserError(f"nothing in {', '.join(map(str, folders))} can start this study: {why}")
    found = sum(map(len, trials))
    return WarmStart(list(configs.values())[:count], list(known.values()), found, len(reasons))


def _in_turn(
    records: Sequence[RunRecord], trials: Sequence[Sequence[TrialRecord]], goals: Goals
) -> Iterator[tuple[RunRecord, TrialRecord]]:
    """The best trial of each run, then the second best of each, and so on."""
    for row in zip_longest(*(_ranked(run, goals) for run in trials)):
        for record, trial in zip(records, row, strict=True):
            if trial is not None:
                yield record, trial


def _ranked(trials: Sequence[TrialRecord], goals: Goals) -> list[TrialRecord]:
    """The trials of one run from best to worst."""
    costs = np.array([goals.costs(t.values) for t in trials]).reshape(len(trials), len(goals.objectives))
    violations = np.array([goals.violation(t.values, goals.last_step) for t in trials])
    unknown = np.isnan(costs).any(axis=1)
    finished = np.array([t.outcome == "finished" for t in trials], dtype=bool)
    order: list[int] = []
    for group in (finished & ~unknown, ~finished & ~unknown):
        members = np.flatnonzero(group)
        order += members[priority(costs[members], violations[members])].tolist()
    return [trials[i] for i in [*order, *np.flatnonzero(unknown).tolist()]]


def _projected(config: Mapping[str, Any], encoding: Encoding) -> Config:
    """The part of a config that the space searches.

    Raises:
        ValueError: a value is not legal, or none is searched.
    """
    projected: Config = {}
    for parameter in encoding.parameters:
        inner: Any = config
        for name in parameter.name:
            inner = inner.get(name, _ABSENT) if isinstance(inner, Mapping) else _ABSENT
        if inner is _ABSENT:
            continue
        parameter.encode(inner)
        place = projected
        for name in parameter.name[:-1]:
            place = place.setdefault(name, {})
        place[parameter.name[-1]] = inner
    if not projected:
        raise UserError(f"a config has none of the searched parameters, such as {encoding.names[0]}")
    return projected


_ABSENT = object()


def _comparable(header: Mapping[str, Any], run: Mapping[str, Any] | None) -> bool:
    """Whether the figures of an earlier run hold in the new one."""
    if run is None:
        return False
    old, new = header["study"], run["study"]
    return (
        all(old.get(name) == new.get(name) for name in _SAME)
        and old["search"]["epochs"] == new["search"]["epochs"]
        and all(header.get(name) == run.get(name) for name in ("software", "machine"))
    )
