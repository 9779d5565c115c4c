from __future__ import annotations

import json
import math
import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.basics.disk import StorageError
from raysearch.basics.failures import UserError
from raysearch.record.journal import FILE_NAME, VERSION, Journal, read
from raysearch.record.run_record import RunRecord

CONFIG = {"lr": 0.1}
STUDY = {
    "task": {"name": "digits"},
    "objectives": ["maximize accuracy"],
    "constraints": [],
    "targets": ["cpu"],
    "search": {"epochs": 3},
}


@pytest.fixture
def journal(tmp_path: Path):
    journal = Journal(tmp_path)
    yield journal
    journal.close()


def suggest(journal: Journal, trial: str, role: str = "trial") -> None:
    journal.write("suggestion", trial=trial, role=role, config=CONFIG, key=trial, origin="design")


def events(folder: Path) -> list[dict]:
    return [{k: v for k, v in event.items() if k != "time"} for event in read(folder)]


def test_a_line_is_on_disk_when_write_returns(journal, tmp_path):
    written = journal.write("session", action="start")
    assert [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()] == [written]


def test_events_come_back_in_order_across_openings(tmp_path):
    for action in ("start", "resume", "finish"):
        journal = Journal(tmp_path / "new" / "run")
        journal.write("session", action=action)
        journal.close()
    assert [e["action"] for e in events(tmp_path / "new" / "run")] == ["start", "resume", "finish"]


@settings(deadline=None)  # it waits for the disk
@given(text=st.text(), number=st.floats(), cut=st.integers(1, 200))
def test_a_line_cut_short_never_took_effect(tmp_path_factory, text, number, cut):
    folder = tmp_path_factory.mktemp("run")
    journal = Journal(folder)
    journal.write("session", action="start", note=text)
    journal.write("report", trial="1", step=1, values={text: number})
    journal.close()
    path = folder / FILE_NAME
    content = path.read_bytes()
    first, second = content.splitlines(keepends=True)
    path.write_bytes(content[: -min(cut, len(second))])
    assert [e["event"] for e in events(folder)] == ["session"]
    journal = Journal(folder)
    assert path.read_bytes() == first
    journal.write("session", action="resume")
    journal.close()
    assert [e["action"] for e in events(folder)] == ["start", "resume"]


def test_a_line_that_the_disk_has_no_room_for_leaves_nothing(journal, tmp_path):
    journal.write("session", action="start")
    whole = (tmp_path / FILE_NAME).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 40, hard))
    try:
        with pytest.raises(StorageError, match=f"^{tmp_path} cannot be written: File too large"):
            journal.write("session", action="x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / FILE_NAME).read_bytes() == whole
    journal.write("session", action="finish")
    assert [e["action"] for e in events(tmp_path)] == ["start", "finish"]


def test_a_journal_in_which_nothing_was_written_leaves_nothing(tmp_path):
    Journal(tmp_path / "run").close()
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine.txt").write_text("")
    Journal(tmp_path).close()
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"the run folder .*inside cannot be written: Not a directory"):
        Journal(tmp_path / "file" / "inside")


def test_the_file_of_a_traceback_is_part_of_a_trial(journal, tmp_path):
    suggest(journal, "0000")
    journal.write("end", trial="0000", outcome="failed", reason="why", traceback="failures/0000.txt")
    assert RunRecord.load(tmp_path).trials["0000"].traceback == "failures/0000.txt"


def test_what_is_no_json_is_refused_and_leaves_no_line(journal, tmp_path):
    with pytest.raises(TypeError):
        journal.write("session", action=object())
    journal.write("session", action="start")
    assert len(events(tmp_path)) == 1


def test_odd_numbers_come_back(journal, tmp_path):
    suggest(journal, "1")
    values = {"a": math.nan, "b": math.inf, "c": -math.inf}
    journal.write("report", trial="1", step=1, values=values, decision="continue")
    _, event = events(tmp_path)
    assert math.isnan(event["values"]["a"])
    assert (event["values"]["b"], event["values"]["c"]) == (math.inf, -math.inf)


def test_a_folder_without_a_journal_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        list(read(tmp_path))


def test_a_journal_of_a_later_version_is_refused(journal, tmp_path):
    journal.write("run", version=VERSION + 1)
    with pytest.raises(ValueError, match="upgrade"):
        list(read(tmp_path))


@pytest.mark.parametrize("damage", ['{"event": "ses\n', "\n", "\0\0\0\n", "3\n", "{}\n"])
def test_a_damaged_line_is_named(tmp_path, damage):
    journal = Journal(tmp_path)
    journal.write("session", action="start")
    journal.close()
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write(damage + '{"event": "session"}\n')
    with pytest.raises(ValueError, match="line 2 is"):
        list(read(tmp_path))


def test_writing_after_close_is_refused(tmp_path):
    journal = Journal(tmp_path)
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.write("session", action="start")


def test_a_run_record_follows_the_events(journal, tmp_path):
    journal.write("run", version=VERSION, study=STUDY)
    journal.write("session", action="start")
    suggest(journal, "parent", role="reference")
    suggest(journal, "0000")
    journal.write(
        "report",
        trial="0000",
        step=0,
        values={"latency_ms": 2.0},
        measurements=[{"target": "cpu", "latency_ms": 2.0}],
        notes=["slow"],
        decision="continue",
    )
    journal.write(
        "report", trial="0000", step=1, values={"accuracy": 0.5}, notes=["slow"], decision="continue"
    )
    journal.write("report", trial="0000", step=2, values={"accuracy": 0.6}, decision="stop")
    journal.write("end", trial="0000", outcome="stopped", reason="rung 2")
    journal.write(
        "final",
        trial="0000",
        values={"latency_ms": 2.1, "accuracy/test": 0.4},
        measurements=[{"target": "cpu", "latency_ms": 2.1}],
    )
    record = RunRecord.load(tmp_path)
    trial = record.trials["0000"]
    assert record.header["study"] == STUDY
    assert [s["action"] for s in record.sessions] == ["start"]
    assert record.parent is record.trials["parent"]
    assert record.searched() == [trial]
    assert trial.step == 2
    assert (trial.outcome, trial.reason, trial.notes) == ("stopped", "rung 2", ["slow"])
    assert trial.values == {"latency_ms": 2.1, "accuracy": 0.6, "accuracy/test": 0.4}
    assert [m["latency_ms"] for m in trial.measurements] == [2.0, 2.1]
    assert trial.ended is not None
    assert trial.started <= trial.ended <= record.last_time


def test_a_trial_before_its_suggestion_is_refused(journal, tmp_path):
    journal.write("end", trial="0007", outcome="failed")
    with pytest.raises(ValueError, match="end of trial '0007' before its suggestion"):
        RunRecord.load(tmp_path)


def test_a_fresh_record_is_empty(journal, tmp_path):
    suggest(journal, "0000")
    trial = RunRecord.load(tmp_path).trials["0000"]
    assert (trial.step, trial.values, trial.outcome) == (-1, {}, None)
    assert RunRecord().parent is None


def test_two_processes_do_not_write_one_journal(tmp_path):
    first = Journal(tmp_path)
    first.write("session", action="start")
    with pytest.raises(ValueError, match="being worked on by another process"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()
    assert len(list(read(tmp_path))) == 1
