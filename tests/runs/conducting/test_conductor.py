"""A conductor writes all down first, and one that replays the journal stands where it stood."""

from __future__ import annotations

import errno
import json
from collections import Counter
from pathlib import Path

import pytest

from raysearch.basics.disk import StorageError
from raysearch.objectives import Goals
from raysearch.record import journal
from raysearch.record.journal import Journal
from raysearch.record.lease import LeaseLost
from raysearch.record.run_record import RunRecord
from raysearch.runs.conducting.conductor import DEATHS, Conductor
from raysearch.schedulers.base import Decision
from raysearch.schedulers.front_halving import FrontHalving
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.screening import Screening
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.search_spaces.plans import TrialPlan, Variant
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.fixed import FixedList
from raysearch.searchers.nsga2 import NSGA2

EPOCHS = 9
GOALS = Goals.parse(["minimize error", "minimize size_mb"], last_step=EPOCHS + 1)
SPACE = (
    Parameter(("a", "x"), "float", 0.0, 1.0),
    Parameter(("a", "y"), "integer", 1, 8),
)


def variant(config):
    return Variant(config, json.dumps(config, sort_keys=True), frozenset(), TrialPlan())


def make_conductor(folder: Path, limit=30, workers=1, scheduler=None) -> tuple[Conductor, list]:
    record = RunRecord()
    events = list(journal.read(folder)) if (folder / journal.FILE_NAME).exists() else []
    for event in events:
        record.apply(event)
    conductor = Conductor(
        Journal(folder),
        record,
        NSGA2(SPACE, GOALS, seed=3, population=6),
        scheduler or SuccessiveHalving(GOALS, max_step=EPOCHS),
        role="trial",
        variant=variant,
        limit=limit,
        workers=lambda: workers,
        last_step=lambda name: EPOCHS + 1,
        origin=lambda key: "nsga2",
    )
    return conductor, events


def work(conductor: Conductor, max_reports: float = float("inf")) -> int:
    """One worker that runs trials as Tune would, and is killed after ``max_reports`` reports."""
    reports = 0
    tune_id = 0
    while True:
        tune_id += 1
        config = conductor.ask(f"tune{tune_id}")
        if config is None:
            conductor.journal.close()
            return reports
        x, y = config["a"]["x"], config["a"]["y"]
        for step in range(EPOCHS + 2):  # repeats what was reported before the kill, as a trial does
            if reports >= max_reports:
                conductor.journal.close()
                return reports
            reports += 1
            values = {"size_mb": y + x} if step == 0 else {"error": (1 - x) / step + 1 / y}
            decision = conductor.decide(f"tune{tune_id}", step, values)
            if decision is Decision.STOP:
                break


def lines(folder: Path) -> list[dict]:
    return [{k: v for k, v in event.items() if k != "time"} for event in journal.read(folder)]


def stopping() -> SuccessiveHalving:
    return SuccessiveHalving(GOALS, max_step=EPOCHS)


def pausing() -> SuccessiveHalving:
    return SuccessiveHalving(GOALS, max_step=EPOCHS, form="promote", brackets=2)


def finishing() -> FrontHalving:
    return FrontHalving(GOALS, max_step=EPOCHS)


def screening() -> Screening:
    return Screening(finishing(), GOALS, candidates=3, trials=6)


def kinds(folder: Path) -> Counter[str]:
    return Counter(line.get("decision", line.get("outcome", line["event"])) for line in lines(folder))


@pytest.mark.parametrize("scheduler", [stopping, pausing, finishing, screening])
def test_a_run_that_is_killed_and_resumed_writes_the_same_journal(tmp_path, scheduler):
    whole, _ = make_conductor(tmp_path / "whole", scheduler=scheduler())
    work(whole)
    for kill_after in (1, 7, 13, 2, 40):
        cut, events = make_conductor(tmp_path / "cut", scheduler=scheduler())
        cut.replay(events)
        work(cut, kill_after)
    cut, events = make_conductor(tmp_path / "cut", scheduler=scheduler())
    cut.replay(events)
    work(cut)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert cut.complete
    assert cut.state() == whole.state()


@pytest.mark.parametrize(
    ("scheduler", "limit"), [(stopping, 6), (pausing, 12), (finishing, 12), (screening, 12)]
)
def test_a_kill_after_any_line_changes_nothing(tmp_path, scheduler, limit):
    whole, _ = make_conductor(tmp_path / "whole", limit, scheduler=scheduler())
    work(whole)
    written = (tmp_path / "whole" / journal.FILE_NAME).read_text().splitlines(keepends=True)
    for kept in range(1, len(written)):
        folder = tmp_path / f"cut{kept}"
        folder.mkdir()
        (folder / journal.FILE_NAME).write_text("".join(written[:kept]))
        cut, events = make_conductor(folder, limit, scheduler=scheduler())
        cut.replay(events)
        work(cut)
        assert lines(folder) == lines(tmp_path / "whole")
        assert cut.complete


def test_what_is_paused_is_promoted_or_ends_as_stopped(tmp_path):
    conductor, _ = make_conductor(tmp_path, scheduler=pausing())
    work(conductor)
    count = kinds(tmp_path)
    assert count["promotion"] > 0
    assert count["stopped"] == count["pause"] - count["promotion"] > 0
    assert count["finished"] + count["stopped"] == count["suggestion"] == 30
    assert conductor.complete
    stopped = [t for t in conductor.record.trials.values() if t.outcome == "stopped"]
    assert {t.reason for t in stopped} == {f"paused at step {t.step} to the end" for t in stopped}
    assert not any(t.paused for t in conductor.record.trials.values())


def test_what_may_end_on_the_front_is_finished(tmp_path):
    conductor, _ = make_conductor(tmp_path, 12, scheduler=finishing())
    work(conductor)
    assert any(line.get("finishing") for line in lines(tmp_path))
    assert conductor.complete


def test_every_step_of_a_promoted_trial_is_reported_once(tmp_path):
    conductor, _ = make_conductor(tmp_path, scheduler=pausing())
    work(conductor)
    steps: dict[str, list[int]] = {}
    for line in lines(tmp_path):
        if line["event"] == "report":
            steps.setdefault(line["trial"], []).append(line["step"])
    assert all(reported == list(range(len(reported))) for reported in steps.values())


class Scripted(FullTraining):
    """Pauses at step 1 and promotes in a given order."""

    def __init__(self, *promotions: str) -> None:
        self.promotions = list(promotions)

    def decide(self, trial, step, values, given=None):
        return given or (Decision.PAUSE if step == 1 else Decision.CONTINUE)

    def promote(self, given=None):
        return given or (self.promotions.pop(0) if self.promotions else None)


def report_one(conductor: Conductor, trial: str) -> Decision:
    return conductor.decide(trial, 1, {"error": 1.0, "size_mb": 1.0})


def test_a_pause_frees_the_worker_and_a_promotion_comes_before_a_new_trial(tmp_path):
    conductor, _ = make_conductor(tmp_path, scheduler=(scheduler := Scripted()))
    first = conductor.ask("a")
    assert conductor.ask("b") is None
    assert report_one(conductor, "a") is Decision.STOP, "for Tune it is over"
    assert lines(tmp_path)[-1]["decision"] == "pause"
    assert conductor.record.trials["0000"].paused
    assert conductor.ask("b")["trial"] == "0001"
    report_one(conductor, "b")
    scheduler.promotions = ["0000"]
    assert conductor.ask("c") == first
    assert lines(tmp_path)[-1] == {"event": "promotion", "trial": "0000"}
    assert not conductor.record.trials["0000"].paused


def test_after_a_kill_what_was_paused_stays_paused(tmp_path):
    conductor, _ = make_conductor(tmp_path, scheduler=Scripted())
    for name in ("a", "b"):
        conductor.ask(name)
        report_one(conductor, name)
    conductor.ask("c")
    conductor.journal.close()
    again, events = make_conductor(tmp_path, scheduler=Scripted())
    again.replay(events)
    assert again.pending == ["0002"]
    assert [t.name for t in again.record.trials.values() if t.paused] == ["0000", "0001"]
    assert not again.complete


def test_a_recorded_promotion_wins_and_the_schedulers_own_comes_next(tmp_path):
    conductor, _ = make_conductor(tmp_path, scheduler=(scheduler := Scripted()))
    for name in ("a", "b"):
        conductor.ask(name)
        report_one(conductor, name)
    scheduler.promotions = ["0000"]
    conductor.ask("c")
    conductor.journal.close()
    again, events = make_conductor(tmp_path, scheduler=Scripted("0001"), workers=3)
    again.replay(events)
    assert [again.ask(name)["trial"] for name in ("d", "e", "f")] == ["0000", "0001", "0002"]


def test_a_searcher_that_waits_for_the_paused_is_told_of_their_end(tmp_path):
    class Patient(FixedList):
        ended = 0

        def ask(self, trial, given=None):
            return None if trial == "0001" and not self.ended else super().ask(trial, given)

        def end(self, trial, outcome):
            self.ended += 1

    conductor, _ = make_conductor(tmp_path, limit=2, scheduler=Scripted())
    conductor.algorithms.searcher = Patient([{"a": {"x": 0.5, "y": 1}}, {"a": {"x": 0.6, "y": 1}}])
    conductor.ask("a")
    report_one(conductor, "a")
    assert conductor.ask("b")["trial"] == "0001"
    assert conductor.record.trials["0000"].outcome == "stopped"


def test_a_line_cut_short_by_the_kill_is_as_if_never_written(tmp_path):
    whole, _ = make_conductor(tmp_path / "whole")
    work(whole)
    text = (tmp_path / "whole" / journal.FILE_NAME).read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / journal.FILE_NAME).write_bytes(text[: len(text) // 2])
    cut, events = make_conductor(tmp_path / "cut")
    cut.replay(events)
    work(cut)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_no_finished_trial_is_suggested_again(tmp_path):
    first, _ = make_conductor(tmp_path, limit=5)
    work(first)
    again, events = make_conductor(tmp_path, limit=5)
    again.replay(events)
    assert again.complete
    assert again.ask("tune1") is None


def test_a_raised_limit_goes_on(tmp_path):
    first, _ = make_conductor(tmp_path, limit=5)
    work(first)
    more, events = make_conductor(tmp_path, limit=8)
    more.replay(events)
    work(more)
    assert len(more.record.trials) == 8


def test_workers_bound_what_is_in_flight(tmp_path):
    conductor, _ = make_conductor(tmp_path, workers=2)
    assert conductor.ask("a")
    assert conductor.ask("b")
    assert conductor.ask("c") is None
    conductor.fail("a", "it broke")
    assert conductor.ask("c")
    assert conductor.record.trials["0000"].outcome == "failed"
    assert conductor.record.trials["0000"].reason == "it broke"


def test_a_repeated_report_is_written_once(tmp_path):
    conductor, _ = make_conductor(tmp_path)
    conductor.ask("a")
    conductor.decide("a", 0, {"size_mb": 1.0})
    before = lines(tmp_path)
    assert conductor.decide("a", 0, {"size_mb": 2.0}) is Decision.CONTINUE
    assert lines(tmp_path) == before


def test_the_suggestion_stands_in_the_journal_before_it_is_given_out(tmp_path):
    conductor, _ = make_conductor(tmp_path)
    config = conductor.ask("a")
    written = lines(tmp_path)[-1]
    assert written["event"] == "suggestion"
    assert {"trial": written["trial"], **written["config"]} == config


def test_a_recorded_suggestion_wins_over_another_proposal(tmp_path):
    first, _ = make_conductor(tmp_path)
    config = first.ask("a")
    first.journal.close()
    record = RunRecord.load(tmp_path)
    other = Conductor(
        Journal(tmp_path),
        record,
        NSGA2(SPACE, GOALS, seed=99, population=6),
        FullTraining(),
        role="trial",
        variant=variant,
        limit=30,
        workers=lambda: 1,
        last_step=lambda name: EPOCHS + 1,
        origin=lambda key: "nsga2",
    )
    other.replay(journal.read(tmp_path))
    assert other.ask("b") == config


@pytest.mark.parametrize("outcome", ["finished", "stopped"])
def test_only_failures_are_taken_from_tune(tmp_path, outcome):
    conductor, _ = make_conductor(tmp_path)
    conductor.ask("a")
    conductor.end("a", outcome)
    assert conductor.record.trials["0000"].outcome is None


def test_a_space_that_is_used_up_completes_the_search(tmp_path: Path) -> None:
    conductor, _ = make_conductor(tmp_path, limit=5)
    conductor.algorithms.searcher = FixedList([{"a": {"x": 0.5, "y": 1}}])
    assert conductor.ask("one") is not None
    conductor.fail("one", "broke")
    assert conductor.ask("two") is None
    assert conductor.complete


def test_a_trial_survives_deaths_of_its_workers_but_not_too_many_at_one_step(tmp_path):
    conductor, _ = make_conductor(tmp_path, limit=1)
    config = conductor.ask("tune0")
    for death in range(2 * DEATHS):
        if death == DEATHS:
            conductor.decide(f"tune{death}", 0, {"size_mb": 1.0})
        conductor.die(f"tune{death}", "it was killed")
        assert conductor.record.trials["0000"].outcome is None
        assert conductor.ask(f"tune{death + 1}") == config
    conductor.end(f"tune{2 * DEATHS}", "failed")  # Tune says no more than this of some
    trial = conductor.record.trials["0000"]
    assert trial.outcome == "failed"
    assert trial.reason == "its worker died 4 times in a row at one step: no reason is known"
    assert conductor.complete


def test_a_death_of_a_trial_that_is_over_changes_nothing(tmp_path):
    conductor, _ = make_conductor(tmp_path)
    conductor.ask("a")
    conductor.fail("a", "broke")
    conductor.die("a", "it was killed")
    conductor.end("a", "failed")
    assert conductor.record.trials["0000"].reason == "broke"
    assert not conductor.pending


def test_a_trial_that_misses_a_reference_waits_and_none_begins(tmp_path):
    conductor, _ = make_conductor(tmp_path, workers=2)
    conductor.ask("a")
    conductor.lose("a", "parent")
    assert (conductor.lost, conductor.stopped) == ("parent", True)
    assert conductor.ask("b") is None
    assert conductor.record.trials["0000"].outcome is None


def test_a_failed_trial_s_traceback_is_kept_beside_the_journal(tmp_path):
    conductor, _ = make_conductor(tmp_path, workers=2)
    for trial in ("a", "b"):
        conductor.ask(trial)
    conductor.fail("a", "ValueError: no", "Traceback ...")
    conductor.fail("b", "its worker died")
    ends = [line for line in lines(tmp_path) if line["event"] == "end"]
    assert [end.get("traceback") for end in ends] == ["failures/0000.txt", None]
    assert (tmp_path / "failures" / "0000.txt").read_text() == "Traceback ...\n"


def test_a_trial_that_could_not_be_saved_is_not_at_its_end_and_comes_first_again(tmp_path):
    conductor, _ = make_conductor(tmp_path, workers=2)
    config = conductor.ask("a")
    conductor.suspend("a", "/run cannot be written: No space left on device")
    assert conductor.ask("b") is None
    assert "No space left" in str(conductor.error)
    assert not conductor.complete
    conductor.journal.close()
    again, events = make_conductor(tmp_path)
    again.replay(events)
    assert again.ask("a") == config
    assert [line["event"] for line in lines(tmp_path)] == ["suggestion"]


def test_what_a_step_brings_is_stored_at_once_and_only_then_heard_of(tmp_path, monkeypatch):
    conductor, _ = make_conductor(tmp_path)
    appended, heard = [], []
    append = conductor.journal._writer.append

    def note(data):
        append(data)
        appended.append([json.loads(line)["event"] for line in data.splitlines()])

    def listen(event):
        assert event in list(journal.read(tmp_path))  # a checkpoint that it removes is needed no more
        heard.append(event["event"])

    monkeypatch.setattr(conductor.journal._writer, "append", note)
    conductor.listener = listen
    config = conductor.ask("a")
    for step in range(EPOCHS + 2):
        conductor.decide("a", step, {"size_mb": 1.0} if step == 0 else {"error": 1 / (step + 1)})
        if step == 0:
            conductor.decide("a", 0, {"size_mb": 1.0})  # repeated: nothing to store
    conductor.journal.close()
    assert config is not None
    assert appended == [["suggestion"], *[["report"]] * (EPOCHS + 1), ["report", "end"]]
    assert heard == [event for group in appended for event in group]


def test_of_a_step_that_is_not_stored_nobody_hears(tmp_path, monkeypatch):
    conductor, _ = make_conductor(tmp_path)
    conductor.ask("a")
    conductor.listener = lambda event: pytest.fail("it was not stored")

    def lose():
        raise LeaseLost("another driver has it")

    monkeypatch.setattr(conductor.journal._writer, "_check", lose)
    with pytest.raises(LeaseLost):
        conductor.decide("a", 0, {"size_mb": 1.0})
    assert conductor.stopped
    assert isinstance(conductor.error, LeaseLost)
    assert conductor.ask("b") is None


def test_a_journal_on_a_full_disk_ends_the_session(tmp_path, monkeypatch):
    conductor, _ = make_conductor(tmp_path)
    conductor.ask("a")

    def refuse(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("raysearch.record.writing.os.fsync", refuse)
    with pytest.raises(StorageError):
        conductor.decide("a", 0, {"size_mb": 1.0})
    assert conductor.error is not None
    assert conductor.ask("b") is None
    assert [line["event"] for line in lines(tmp_path)] == ["suggestion"]


def test_when_time_is_short_no_trial_begins_and_the_front_is_finished(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("raysearch.runs.conducting.conductor.time.time", lambda: clock[0])
    conductor, _ = make_conductor(tmp_path, 10_000, scheduler=finishing())
    conductor._closing.deadline = clock[0] + 200
    tune_id = 0
    while (config := conductor.ask(f"tune{tune_id}")) is not None:
        x, y = config["a"]["x"], config["a"]["y"]
        name = config["trial"]
        for step in range(conductor.record.trials[name].step + 1, EPOCHS + 2):
            clock[0] += 1.0
            values = {"size_mb": y + x} if step == 0 else {"error": (1 - x) / step + 1 / y}
            if conductor.decide(f"tune{tune_id}", step, values) is Decision.STOP:
                break
        tune_id += 1
    conductor.journal.close()
    assert conductor.closing
    assert not conductor.complete  # more trials may begin where there is more time
    assert 150 < clock[0] - 1000 <= 210
    assert conductor.algorithms.scheduler.left() == {}
    assert any(line.get("finishing") for line in lines(tmp_path))
    begun = [i for i, line in enumerate(lines(tmp_path)) if line["event"] == "suggestion"]
    finishing_lines = [i for i, line in enumerate(lines(tmp_path)) if line.get("finishing")]
    assert max(begun) < min(finishing_lines)


def test_a_trial_begins_only_if_the_longest_under_way_can_end_in_time(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("raysearch.runs.conducting.conductor.time.time", lambda: clock[0])
    conductor, _ = make_conductor(tmp_path, 100, workers=4)
    conductor.ask("first")
    for step in range(3):
        conductor.decide("first", step, {"size_mb": 1.0} if step == 0 else {"error": 1.0})
        clock[0] += 1.0
    one_trial = EPOCHS + 1  # seconds, a step each
    conductor._closing.deadline = (
        clock[0] + 0.9 * one_trial
    )  # all that is under way, by four workers, takes less
    assert conductor.ask("second") is None
    conductor._closing.deadline = clock[0] + 1.1 * one_trial
    assert conductor.ask("second") is not None


def test_a_choice_that_is_not_waiting_is_passed_over(tmp_path):
    conductor, _ = make_conductor(tmp_path, 12, scheduler=finishing())
    conductor.algorithms.searcher.choose = lambda trials, waiting: "nobody"
    work(conductor)
    assert conductor.complete
