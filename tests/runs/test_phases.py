"""A run from its first line to its last, without a cluster."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysearch.backends import get
from raysearch.basics.disk import StorageError
from raysearch.basics.failures import RunError, UserError
from raysearch.record.journal import Journal
from raysearch.record.lease import LeaseLost
from raysearch.record.run_record import RunRecord
from raysearch.runs import phases as running
from raysearch.runs.session import Session, begun
from raysearch.storage import Remote


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session at its beginning, which writes no report."""
    monkeypatch.setattr(running, "conclude", lambda work, folder: None)
    task = SimpleNamespace(source=None)
    conditions = SimpleNamespace(metrics={}, workers=None, task=task, targets=(get("onnxruntime-cpu"),))
    work: Any = SimpleNamespace(described={}, maximize={}, conditions=conditions, warm_start={})
    table: Any = SimpleNamespace(event=lambda event: None)
    return Session(work, tmp_path, 1, Journal(tmp_path), RunRecord(), table, float("inf"))


def test_a_full_disk_ends_a_run_in_one_sentence_that_says_how_to_go_on(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = session.folder

    def fill(session: Session) -> str:
        raise StorageError(f"{folder}/trials/0003 cannot be written: No space left on device")

    monkeypatch.setattr(running, "_phases", fill)
    sentence = f"No space left on device; when that is mended, go on with: raysearch resume {folder}"
    with pytest.raises(RunError, match=f"{sentence}$"):
        running._work_through(session, None)
    assert [s["action"] for s in RunRecord.load(folder).sessions] == ["start", "storage"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_is_asked_once_writes_its_report_and_asked_twice_ends_now(
    session: Session, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    written: list[Path] = []
    stopped: list[bool] = []
    monkeypatch.setattr(running, "conclude", lambda work, folder: written.append(folder))
    monkeypatch.setattr(running, "start_service", lambda name: service)
    monkeypatch.setattr(Session, "setup", SimpleNamespace(service="name"))
    service: Any = SimpleNamespace(known=lambda figures: None, stop=lambda now: stopped.append(now))

    def interrupt(session: Session, service: Any) -> bool:
        for _ in range(times):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "make_references", interrupt)
    with session.signals, contextlib.suppress(KeyboardInterrupt) if times == 2 else contextlib.nullcontext():
        running._work_through(session, None)
    assert RunRecord.load(session.folder).sessions[-1]["action"] == "interrupt"
    assert (len(written), stopped) == ((1, [False]) if times == 1 else (0, [True]))


def test_an_interrupt_that_a_library_took_still_ends_the_run(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(session: Session) -> str:
        for _ in range(2):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        return "interrupt"

    monkeypatch.setattr(running, "_phases", interrupt)
    monkeypatch.setattr(running, "conclude", lambda work, folder: pytest.fail("it wrote tables"))
    with session.signals, pytest.raises(KeyboardInterrupt):
        running._work_through(session, None)


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupt_before_the_first_line_says_that_nothing_is_there(
    session: Session, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    if begun:
        session.write("run", version=1, study={"task": {}}, metrics={})
    session.work.described["task"] = {}  # type: ignore[index]
    session.work.conditions.demand = None  # type: ignore[misc]
    monkeypatch.setattr(running, "check_first", interrupt)
    monkeypatch.setattr(running, "limit_of", lambda work, trials: 1)
    monkeypatch.setattr(running.tuning, "cluster", contextlib.nullcontext)
    monkeypatch.setattr(running, "at_work", lambda *_: contextlib.nullcontext(SimpleNamespace(words=str)))
    with pytest.raises(KeyboardInterrupt) as raised:
        running.go_on(session.work, 1, session.journal, max_minutes=None, progress=False)
    said = "" if begun else "ended before the run began: there is nothing to go on with"
    assert str(raised.value) == said


def test_other_code_of_the_task_is_said_when_a_session_begins(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "_phases", lambda session: "interrupt")
    module, said = tmp_path / "code" / "mine.py", list[str]()
    module.parent.mkdir()
    session.work.conditions.task.source = {"import": "mine:make", "module_folder": str(module.parent)}
    session.work.described["task"] = session.work.conditions.task.source  # type: ignore[index]
    session.work.described |= {"parent": {}}  # type: ignore[operator]
    monkeypatch.setattr(running, "made_of", lambda *_: "")
    session.table.say = said.append  # type: ignore[method-assign]
    for text in ("a = 1", "a = 1", "a = 2", "a = 2"):
        module.write_text(text)
        running._work_through(session, None)
    assert len(said) == 1
    assert said[0].startswith("After 0 trials the code of the task was changed (mine:make, or what")
    codes = [s.get("code") for s in RunRecord.load(session.folder).sessions]
    assert codes[::2] == [codes[0], codes[0], codes[4], codes[4]]
    assert codes[0] != codes[4]
    assert codes[1::2] == [None] * 4  # of ends


def test_a_bug_is_no_full_disk(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(session: Session) -> str:
        raise ValueError("a bug")

    monkeypatch.setattr(running, "_phases", fail)
    with pytest.raises(ValueError, match=r"^a bug$"):
        running._work_through(session, None)
    assert RunRecord.load(session.folder).sessions[-1]["action"] == "error"


def test_the_journal_is_locked_before_it_is_read(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "begun", lambda *arguments: pytest.fail("it was read"))
    with pytest.raises(UserError, match="another process"):
        running.carry_out(session.work, 1, session.folder, max_minutes=None, progress=False)


def test_a_study_whose_module_has_moved_is_the_same_study(tmp_path):
    def described(place, name="own:make"):
        return {"task": {"import": name, "module_folder": place}, "targets": ["torch-cpu"]}

    journal = Journal(tmp_path)
    journal.write("run", version=1, study=described("/old"))
    journal.close()
    record, events = begun(tmp_path, described("/new"), {"accuracy": ""}, {})
    assert record.header["study"] == described("/old")
    assert len(events) == 1
    with pytest.raises(UserError, match=r"another study \(task differ\)"):
        begun(tmp_path, described("/old", "other:make"), {"accuracy": "share"}, {})


def test_limits_may_differ_where_they_are_to_change(tmp_path):
    described = {"task": {"name": "own"}, "constraints": []}
    journal = Journal(tmp_path)
    journal.write("run", version=1, study=described)
    journal.close()
    other = {**described, "constraints": ["macs <= 3"]}
    with pytest.raises(UserError, match=r"\(constraints differ\): give another folder$"):
        begun(tmp_path, other, {"accuracy": "share"}, {})
    assert begun(tmp_path, other, {"accuracy": "share"}, {"constraints": ["macs <= 3"]})[1]


def test_a_key_that_the_run_alone_has_is_named(tmp_path):
    described = {"task": {"name": "own"}, "sweep": {"parts": ["left"], "multiple": None}}
    journal = Journal(tmp_path)
    journal.write("run", version=1, study=described)
    journal.close()
    with pytest.raises(UserError, match=r"another study \(sweep differ\)"):
        begun(tmp_path, {"task": {"name": "own"}}, {"accuracy": "share"}, {})
    resolved = {**described, "sweep": {"parts": ["left"], "multiple": 8}}  # by its space, which says it too
    assert begun(tmp_path, resolved, {"accuracy": "share"}, {})[1]


def test_a_search_that_came_to_its_end_is_not_begun_again(session: Session) -> None:
    session.record.header = {"study": {}}
    begun = {"trial": "0000", "role": "trial", "config": {}, "key": "k", "origin": "x"}
    session.num_trials = 1
    assert not running._is_searched(session)
    session.record.apply({"event": "suggestion", "time": 1.0, **begun})
    session.record.apply({"event": "session", "time": 2.0, "action": "finish", "num_trials": 1})
    assert not running._is_searched(session)  # that trial lost its end, in a repair
    session.record.apply({"event": "end", "time": 3.0, "trial": "0000", "outcome": "finished"})
    session.record.apply({"event": "session", "time": 4.0, "action": "resume", "num_trials": 1})
    assert running._is_searched(session)
    session.num_trials = 2
    assert not running._is_searched(session)
    session.num_trials = None
    assert not running._is_searched(session)


def test_a_task_with_other_metrics_is_another_study(tmp_path):
    described = {"task": {"name": "own"}}
    journal = Journal(tmp_path)
    journal.write("run", version=1, study=described, metrics={"rmse": ""})
    journal.close()
    assert begun(tmp_path, described, {"rmse": ""}, {})[0].metrics == {"rmse": ""}
    with pytest.raises(UserError, match=r"another study \(metrics differ\)"):
        begun(tmp_path, described, {"accuracy": "share"}, {})


def test_a_folder_that_no_worker_sees_is_refused(session: Session) -> None:
    place = Remote("memory://bucket/run")
    with pytest.raises(UserError, match=r"^memory://bucket/run is in this process alone: give a folder that"):
        running.carry_out(session.work, 1, place, max_minutes=None, progress=False)


def test_a_driver_that_lost_its_run_writes_nothing_more(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "conclude", lambda work, folder: pytest.fail("it wrote tables"))

    def lose(session: Session) -> str:
        (session.folder / "journal.jsonl").rename(session.folder / "kept")
        (session.folder / "kept").unlink()
        (session.folder / "journal.jsonl").write_text("another's")
        return "finish"

    monkeypatch.setattr(running, "_phases", lose)
    with pytest.raises(LeaseLost, match="nothing more is written"):
        running._work_through(session, None)
    assert (session.folder / "journal.jsonl").read_text() == "another's"


def test_a_run_that_is_taken_over_while_storage_is_away_does_not_say_how_to_go_on(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(session: Session) -> str:
        (session.folder / "journal.jsonl").unlink()
        (session.folder / "journal.jsonl").write_text("another's")
        raise StorageError("the disk is full")

    monkeypatch.setattr(running, "_phases", away)
    with pytest.raises(LeaseLost, match="nothing more is written"):
        running._work_through(session, None)


def test_what_was_waited_for_in_vain_is_not_waited_for_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.storage.waiting.PATIENCE_S", 1000.0)

    def fill(session: Session) -> str:
        monkeypatch.setattr("raysearch.record.writing.os.fsync", refuse)
        raise StorageError("the disk is full")

    def refuse(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running, "_phases", fill)
    with pytest.raises(RunError, match=r"No space left on device; when that is mended, go on with"):
        running._work_through(session, None)
