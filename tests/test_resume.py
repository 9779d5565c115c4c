"""What cannot be gone on with; runs that are gone on with stand in test_end_to_end and sweeps/test_sweep."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_run import STUDY, make_events, write_run

from raysearch import resume as resuming
from raysearch.basics.failures import UserError
from raysearch.record.journal import Journal
from raysearch.resume import Changes, read_changes, resume


def test_a_run_killed_before_its_first_session_is_begun_anew_not_resumed(tmp_path: Path) -> None:
    Journal(tmp_path).write("run", version=1, study={})
    with pytest.raises(ValueError, match="nothing was started"):
        resume(tmp_path)


def test_a_task_made_in_python_is_gone_on_with_there(tmp_path: Path) -> None:
    events = make_events(2)
    events[0]["study"] = {**STUDY, "task": {"name": "mine"}}
    with pytest.raises(ValueError, match=r"the task 'mine' of .* was made in Python: go on with it there"):
        resume(write_run(tmp_path / "run", events))


def test_trials_minutes_and_workers_may_be_changed() -> None:
    assert read_changes([]) == Changes()
    changes = ["search.num_trials=128", "search.max_minutes=null", "search.workers = 3"]
    assert read_changes(changes) == Changes({"num_trials": 128, "max_minutes": None, "workers": 3})


def test_limits_may_be_changed() -> None:
    changes = ["constraints=[macs <= 0.5 parent]", "search.num_trials=9", "targets=[{runtime: torch-cpu}]"]
    limits = {"constraints": ["macs <= 0.5 parent"], "targets": [{"runtime": "torch-cpu"}]}
    assert read_changes(changes) == Changes({"num_trials": 9}, limits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "search.epochs=3",
            "^search.epochs cannot be changed in a run that has begun, only search.num_trials, ",
        ),
        ("task.name=cifar10", "^task.name cannot be changed"),
        ("num_trials=3", "^num_trials cannot be changed"),
        ("search=3", "^search cannot be changed"),
        ("search.workers=0", "search.workers"),
        ("search.num_trials=many", "search.num_trials"),
        ("search.num_trials", "is not KEY=VALUE"),
    ],
)
def test_nothing_else_may(change: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        read_changes([change])
    assert "\n" not in str(raised.value)


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be done, with the work of a study that asks for one worker."""

    class Conditions(SimpleNamespace):
        def __replace__(self, **changes: Any) -> Any:
            return Conditions(**{**vars(self), **changes})

    done: list[Any] = []
    monkeypatch.setattr(resuming, "parse", lambda described: None)
    monkeypatch.setattr(
        resuming, "study_of", lambda file: SimpleNamespace(work=SimpleNamespace(conditions=Conditions()))
    )
    monkeypatch.setattr(
        resuming, "replace", lambda given, **changes: SimpleNamespace(**{**vars(given), **changes})
    )
    monkeypatch.setattr(resuming, "StudyResult", lambda folder: None)
    monkeypatch.setattr(
        resuming,
        "go_on",
        lambda work, num_trials, journal, **rest: done.append((work.conditions.workers, num_trials)),
    )
    return done


def test_a_budget_that_was_changed_stays_for_the_sessions_that_follow(
    tmp_path: Path, carried_out: list[Any]
) -> None:
    events = make_events(2)
    events[0]["study"] = {**STUDY, "search": {**STUDY["search"], "workers": 1}}
    last = {"event": "session", "time": 1e9, "action": "interrupt", "num_trials": 5, "max_minutes": None}
    folder = write_run(tmp_path / "run", [*events, last])
    resume(folder)
    resume(folder, ["search.workers=4", "search.num_trials=9"])
    with (folder / "journal.jsonl").open("a") as file:
        file.write(json.dumps({**last, "num_trials": 9, "workers": 4}) + "\n")
    resume(folder)
    assert carried_out == [(1, 5), (4, 9), (4, 9)]


@pytest.mark.parametrize("before", [{"num_trials": 5}, {"num_trials": None, "max_minutes": 3.0}])
def test_a_search_that_would_never_end_is_refused(
    tmp_path: Path, carried_out: list[Any], before: dict[str, Any]
) -> None:
    last = {"event": "session", "time": 1e9, "action": "interrupt", **before}
    folder = write_run(tmp_path / "run", [*make_events(2), last])
    null = [f"search.{name}=null" for name in ("num_trials", "max_minutes")]
    with pytest.raises(UserError, match=r"^search.num_trials and search.max_minutes are both null, so that"):
        resume(folder, null)
    assert not carried_out
    resume(folder, [null[0], "search.max_minutes=1"])
    assert [trials for _, trials in carried_out] == [None]
