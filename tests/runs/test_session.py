"""A session writes first and shows then; its remote work fails in words."""

from __future__ import annotations

import errno
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from raysearch.basics.disk import StorageError
from raysearch.objectives import Goals
from raysearch.record.journal import Event, Journal
from raysearch.record.run_record import RunRecord
from raysearch.runs.cluster.demand import Demand
from raysearch.runs.session import Session, Work


@pytest.fixture
def session(tmp_path: Path) -> Session:
    shown: list[Event] = []
    table: Any = SimpleNamespace(event=shown.append, shown=shown)
    conditions: Any = SimpleNamespace(
        task=None,
        targets=("torch-cpu",),
        epochs=1,
        seed=0,
        demand=Demand({"CPU": 1.0}),
        workers=None,
        metrics={"accuracy": ""},
        parent_epochs=None,
    )
    goals = Goals.parse(["maximize accuracy", "minimize size_mb"])
    space: Any = None
    work = Work({}, conditions, space, {}, goals, lambda g: None, lambda g: None, str)  # type: ignore[arg-type, return-value]
    return Session(work, tmp_path, 1, Journal(tmp_path), RunRecord(), table, math.inf)


def test_an_event_is_on_disk_in_the_record_and_on_the_table(session: Session) -> None:
    head = {"role": "trial", "config": {}, "key": "k", "origin": "random"}
    session.write("suggestion", trial="0000", **head)
    assert list(RunRecord.load(session.folder).trials) == list(session.record.trials) == ["0000"]
    shown: Any = session.table
    assert [event["event"] for event in shown.shown] == ["suggestion"]


def test_the_checkpoint_of_a_trial_that_has_ended_goes(session: Session) -> None:
    head = {"role": "trial", "config": {}, "key": "k", "origin": "random"}
    session.write("suggestion", trial="0000", **head)
    folder = session.setup.trial_folder("0000")
    folder.mkdir(parents=True)
    session.write("report", trial="0000", step=0, values={}, decision="continue")
    assert folder.exists()
    session.write("end", trial="0000", outcome="failed", reason="no")
    assert not folder.exists()


def test_trials_are_told_which_way_is_better_and_their_service_by_the_folder(session: Session) -> None:
    assert session.setup.maximize == {"accuracy": True}
    nothing: Any = None
    other = Session(session.work, session.folder / "other", 1, nothing, RunRecord(), nothing, math.inf)
    assert session.setup.service != other.setup.service
    assert session.setup.service.startswith("raysearch-")


def test_without_a_deadline_there_is_no_end_of_time(session: Session) -> None:
    assert session.seconds_left() == math.inf
    session.deadline = time.time() + 50
    assert 40 < session.seconds_left() <= 50


@pytest.mark.parametrize(
    ("cause", "expected", "words"),
    [
        (OSError(errno.ENOSPC, "No space left"), StorageError, "^a disk is full: .*No space left$"),
        (StorageError("s3://b cannot be used: slow"), StorageError, "^s3://b cannot be used: slow$"),
        (ValueError("no"), ray.exceptions.RayTaskError, "trace"),
    ],
)
def test_a_full_disk_of_a_worker_is_told_apart(
    session: Session, monkeypatch: pytest.MonkeyPatch, cause: Exception, expected: type[Exception], words: str
) -> None:
    def get(_: Any) -> None:
        raise ray.exceptions.RayTaskError("f", "trace", cause)

    remote = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: None))
    monkeypatch.setattr(ray, "remote", lambda function: remote)
    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(expected, match=words):
        session.remotely(lambda setup: None)


def test_a_task_s_traceback_is_kept_beside_the_journal(session: Session) -> None:
    error = ray.exceptions.RayTaskError("f", "the worker's traceback", ValueError("no"))
    file = session.kept(error, "parent")["traceback"]
    assert (session.folder / file).read_text() == "the worker's traceback\n"
