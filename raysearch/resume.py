"""Going on with the run in a folder, whether it is a search or a sweep."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.described import multiple_of
from raysearch.limits import changed_work
from raysearch.record.journal import Journal, check_run_folder
from raysearch.record.run_record import LIMITS, RunRecord
from raysearch.record.schema import check_begun
from raysearch.results import StudyResult
from raysearch.runs.phases import go_on, opened
from raysearch.runs.session import Work
from raysearch.storage import Place, resolved
from raysearch.study import study_of
from raysearch.study_file.schema import TASKS, check_search, parse
from raysearch.study_file.yaml_text import override_key
from raysearch.sweeps.sweep import plan_of

BUDGET = ("num_trials", "max_minutes", "workers")


@dataclass(frozen=True)
class Changes:
    """What is to be another in a session and those that follow; of all else the trials would be others.

    Attributes:
        budget: of "num_trials", "max_minutes" and "workers".
        limits: of "objectives", "constraints" and "targets", as a study file has them.
    """

    budget: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)


def resume(folder: str | Place, changes: Iterable[str] = (), *, progress: bool = True) -> StudyResult:
    """Go on with the run in a folder, whatever ended it; a run that is complete is only reported again.

    Args:
        folder: of the run.
        changes: "search.num_trials=128", and the same of ``search.max_minutes`` and ``search.workers``; or
            "constraints=[accuracy >= 0.9]", and the same of ``objectives`` and ``targets``: for this session
            and those that follow. What a search has begun is finished, whatever its number. Under other
            limits all trials are ranked anew, and none runs again; on a target that comes, those that
            finished are measured from their files.
        progress: whether to show the live table.

    Raises:
        MissingFile: the folder holds no journal.
        ValueError: the run's task was made in Python, so that only that program can go on with it;
            something else was to be changed; or trials lack what other limits need.
    """
    changed, place = read_changes(changes), resolved(folder)
    check_run_folder(place)
    with contextlib.closing(opened(place)) as journal:
        _go_on(journal, changed, progress)
    return StudyResult(place)


def _go_on(journal: Journal, changed: Changes, progress: bool) -> None:
    folder = journal.folder
    record = RunRecord.load(folder)
    if not record.sessions:
        check_begun({}, bool(record.trials), folder)
    check_begun(record.header, True, folder)
    described = record.header["study"]
    if "import" not in described["task"] and described["task"]["name"] not in TASKS:
        raise UserError(
            f"the task {described['task']['name']!r} of {folder} was made in Python: go on with it there, "
            f"by Study(...).run(folder={str(folder)!r})"
        )
    left_out = [f"search.{name}" for name in ("num_trials",) if name in changed.budget]
    left_out += changed.limits
    if "sweep" in described and left_out:
        raise UserError(f"{folder} holds a sweep, which measures all its points: leave out {left_out[0]}")
    work, limits = changed_work(record, changed.limits, _work_of)
    budget = {**_budget(record), **changed.budget}
    if budget["num_trials"] is None and budget["max_minutes"] is None:
        raise UserError(
            "search.num_trials and search.max_minutes are both null, so that the search would never end: "
            "give one of them, such as --set search.max_minutes=60"
        )
    work = replace(work, conditions=replace(work.conditions, workers=budget["workers"]))
    go_on(
        work,
        budget["num_trials"],
        journal,
        max_minutes=budget["max_minutes"],
        progress=progress,
        limits=limits,
    )


def _work_of(described: Mapping[str, Any]) -> Work:
    if "sweep" not in described:
        return study_of(parse(described)).work
    # One that says no multiple goes on with that of its space, whatever a profile says since.
    own = {**described["sweep"], "multiple": described["sweep"].get("multiple") or multiple_of(described)}
    return plan_of(parse({**described, "sweep": own})).work


def read_changes(changes: Iterable[str]) -> Changes:
    """What is given another value: the budget's checked, the limits' as they are given.

    Raises:
        UserError: something else is, or the value cannot be.
    """
    document: dict[str, Any] = {}
    for change in changes:
        override_key(document, change)
        key = change.partition("=")[0].strip()
        allowed = [*(f"search.{name}" for name in BUDGET), *LIMITS]
        if key not in allowed:
            raise UserError(
                f"{key} cannot be changed in a run that has begun, only {', '.join(allowed)}: "
                "begin another run"
            )
    search = document.pop("search", {})
    try:
        checked = check_search(**search).model_dump()
    except UserError as error:
        raise UserError(f"search.{error}") from None
    return Changes({name: checked[name] for name in search}, document)


def _budget(record: RunRecord) -> dict[str, Any]:
    """The budget of the last session that says one."""
    said = next((s for s in reversed(record.sessions) if "num_trials" in s), None)
    if said is None:
        raise UserError("no session says how many trials to run: run the study again")
    workers = said.get("workers", record.header["study"]["search"].get("workers"))
    return {"num_trials": said["num_trials"], "max_minutes": said.get("max_minutes"), "workers": workers}
