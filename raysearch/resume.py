"""Going on with the run in a folder, whether it is a search or a sweep."""

from __future__ import annotations

import contextlib

from raysearch.basics.failures import UserError
from raysearch.record.journal import Journal, RunRecord, check_run_folder
from raysearch.results import StudyResult
from raysearch.runs.phases import go_on, opened
from raysearch.storage import Place, resolved
from raysearch.study import study_of
from raysearch.study_file.schema import TASKS, parse
from raysearch.sweeps.sweep import plan_of


def resume(folder: str | Place, *, progress: bool = True) -> StudyResult:
    """Go on with the run in a folder, whatever ended it; a run that is complete is only reported again.

    Raises:
        MissingFile: the folder holds no journal.
        ValueError: the run's task was made in Python, so that only that program can go on with it.
    """
    place = resolved(folder)
    check_run_folder(place)
    with contextlib.closing(opened(place)) as journal:
        _go_on(journal, progress)
    return StudyResult(place)


def _go_on(journal: Journal, progress: bool) -> None:
    folder = journal.folder
    record = RunRecord.load(folder)
    if not record.sessions:
        raise UserError(f"{folder} holds an empty journal: nothing was started there, so run the study again")
    described = record.header["study"]
    if "import" not in described["task"] and described["task"]["name"] not in TASKS:
        raise UserError(
            f"the task {described['task']['name']!r} of {folder} was made in Python: go on with it there, "
            f"by Study(...).run(folder={str(folder)!r})"
        )
    file = parse(described)
    work = plan_of(file).work if "sweep" in described else study_of(file).work
    budget = {key: record.sessions[-1][key] for key in ("num_trials", "max_minutes")}
    go_on(work, journal=journal, progress=progress, **budget)
