"""A damaged journal: what can be used stays, what goes is said and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_run import make_events, write_run
from typer.testing import CliRunner

from raysearch.basics.failures import MissingFile, UserError
from raysearch.cli.main import app
from raysearch.record import repair as repairing
from raysearch.record.journal import Journal
from raysearch.record.repair import repair
from raysearch.record.results import RunResult
from raysearch.record.run_record import RunRecord

EVENTS = make_events(4)


def index(kind: str, trial: str, step: int | None = None) -> int:
    return next(
        i for i, e in enumerate(EVENTS) if (e["event"], e.get("trial"), e.get("step")) == (kind, trial, step)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "run", EVENTS)
    for name in ("0001", "0002"):
        (folder / "trials" / name).mkdir(parents=True)
        (folder / "trials" / name / "checkpoint.pt").write_text(name)
    return folder


def damage(folder: Path, at: int, by: bytes = b"\0" * 40) -> bytes:
    lines = (folder / "journal.jsonl").read_bytes().split(b"\n")
    lines[at] = by
    (folder / "journal.jsonl").write_bytes(b"\n".join(lines))
    return b"\n".join(lines)


def test_a_whole_journal_stays_as_it_is(folder: Path) -> None:
    before = (folder / "journal.jsonl").read_bytes()
    assert repair(folder) is None
    assert (folder / "journal.jsonl").read_bytes() == before
    assert not (folder / "damaged-1").exists()


def test_a_lost_report_costs_itself_alone(folder: Path) -> None:
    at = index("report", "0001", 1)
    damaged = damage(folder, at)
    found = repair(folder)
    assert found
    assert [number for number, _ in found.dropped] == [at + 1]
    assert (found.backup / "journal.jsonl").read_bytes() == damaged
    before, after = RunRecord(), RunRecord.load(folder)
    for event in EVENTS:
        before.apply(event)
    assert 1 not in after.trials["0001"].reports
    assert after.trials["0001"].values == before.trials["0001"].values
    assert {n: t.outcome for n, t in after.trials.items()} == {n: t.outcome for n, t in before.trials.items()}


def test_a_lost_suggestion_costs_its_trial_and_what_that_left(folder: Path) -> None:
    at = index("suggestion", "0001")
    own = [i + 1 for i, e in enumerate(EVENTS) if e.get("trial") == "0001"]
    damage(folder, at)
    found = repair(folder)
    assert found
    assert [number for number, _ in found.dropped] == own
    assert found.moved == ["0001"]
    assert (found.backup / "trials" / "0001" / "checkpoint.pt").read_text() == "0001"
    assert not (folder / "trials" / "0001").exists()
    assert (folder / "trials" / "0002" / "checkpoint.pt").exists()
    assert "0001" not in RunResult(folder).record.trials
    said = found.sentences()
    assert said[0] == (
        f"repaired: {len(own)} of {len(EVENTS)} lines of the journal cannot be used; as it was it stands in "
        f"{folder / 'damaged-1'}"
    )
    assert said[1] == f"line {at + 1} is damaged: it holds 40 NUL bytes, as a power loss leaves them"
    assert said[2] == f"line {own[1]} is a report of trial '0001' before its suggestion"
    assert f"trial 0001 loses {len(own) - 1} lines" in said
    assert said[-1] == "the files of 0001, which no line suggests, are no longer used"


def test_a_repair_that_was_cut_short_is_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(folder, index("suggestion", "0001"))

    def kill(*_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(repairing, "_move", kill)
        with pytest.raises(KeyboardInterrupt):
            repair(folder)
    found = repair(folder)
    assert found
    assert found.moved == ["0001"]
    assert not (folder / "trials" / "0001").exists()


def test_a_lost_end_lets_the_trial_go_on(folder: Path) -> None:
    damage(folder, index("end", "0002"), b'{"event": "end"')
    assert repair(folder)
    assert RunRecord.load(folder).trials["0002"].outcome is None


def test_without_the_first_line_nothing_can_be_used(folder: Path) -> None:
    before = damage(folder, 0)
    with pytest.raises(UserError, match=r"line 1 is damaged: it holds 40 NUL bytes.*put it back"):
        repair(folder)
    assert (folder / "journal.jsonl").read_bytes() == before
    assert not (folder / "damaged-1").exists()


def test_each_repair_has_its_own_backup(folder: Path) -> None:
    for number in (1, 2):
        damage(folder, 10)
        found = repair(folder)
        assert found
        assert found.backup.name == f"damaged-{number}"


def test_a_journal_at_work_or_a_missing_one_is_not_repaired(folder: Path, tmp_path: Path) -> None:
    journal = Journal(folder)
    with pytest.raises(UserError, match="being worked on by another process"):
        repair(folder)
    journal.close()
    with pytest.raises(MissingFile, match="not a run folder"):
        repair(tmp_path)


def test_a_later_version_is_not_repaired(folder: Path) -> None:
    damage(folder, 0, json.dumps({**EVENTS[0], "version": 7}).encode())
    damage(folder, 10)
    with pytest.raises(UserError, match="has version 7, this raysearch reads up to 1: upgrade it"):
        repair(folder)


def test_the_command_line_says_what_went(folder: Path) -> None:
    damage(folder, 10)
    done = CliRunner().invoke(app, ["report", str(folder), "--repair", "--json"])
    assert done.exit_code == 0
    assert f"raysearch: repaired: 1 of {len(EVENTS)} lines" in done.stderr
    assert json.loads(done.stdout)["folder"] == str(folder)
    again = CliRunner().invoke(app, ["report", str(folder), "--repair"])
    assert "the journal is whole: there is nothing to repair" in again.stderr
