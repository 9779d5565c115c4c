"""Which trials are measured on a target that came later, without a cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from fake_run import STUDY, TARGET, make_events

from raysearch.backends import get
from raysearch.backends.boards import BoardLost
from raysearch.backends.on_nodes import OnNodes
from raysearch.backends.place import Place
from raysearch.basics.failures import RunError, UserError
from raysearch.record.journal import Journal
from raysearch.record.run_record import RunRecord
from raysearch.runs.later_targets import check_weight_bits, measure_on_later_targets, targets_that_come
from raysearch.runs.session import Session

LATE = "torch-cpu"
FIGURES = {f"latency_ms/{LATE}": 1.0, f"accuracy/{LATE}": 0.9, "accuracy": 0.9}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session of a run to which a target has come; one trial waits, one has not reported yet."""
    run = Journal(tmp_path)
    events = make_events(9, finish=False)
    head = {"role": "trial", "config": {}, "key": "k", "origin": "x"}
    events += [
        {"event": "suggestion", "trial": "0010", **head},
        {"event": "report", "trial": "0010", "step": 0, "values": {"size_mb": 1.0}, "decision": "pause"},
        {"event": "suggestion", "trial": "0011", **head},
        {
            "event": "limits",
            **{k: STUDY[k] for k in ("objectives", "constraints")},
            "targets": [TARGET, LATE],
        },
    ]
    record = RunRecord()
    for event in events:
        fields = {key: value for key, value in event.items() if key not in ("event", "time")}
        record.apply(run.write(event["event"], **fields))
    work: Any = SimpleNamespace(conditions=SimpleNamespace(targets=(get(TARGET), get(LATE))))
    table: Any = SimpleNamespace(event=lambda event: None, begin=lambda phase: None)
    session = Session(work, tmp_path, 12, run, record, table, float("inf"))
    session.setup = SimpleNamespace(  # type: ignore[assignment]
        targets=work.conditions.targets, trial_folder=lambda name: tmp_path / "trials" / name
    )
    return session


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The trials that were measured, and whether as finished ones."""
    found: list[tuple[str, bool]] = []

    def remotely(self: Session, function: Any, name: str, *given: Any) -> dict[str, Any]:
        found.append((name, given[-1]))
        values = FIGURES if given[-1] else {f"latency_ms/{LATE}": 1.0}
        return {"values": values, "measurements": [], "notes": [], "parts": {}, "step": 0}

    monkeypatch.setattr(Session, "remotely", remotely)
    return found


def test_what_has_finished_or_waits_is_measured_once(session: Session, asked: list[tuple[str, bool]]) -> None:
    finished = [t.name for t in session.record.trials.values() if t.outcome == "finished"]
    assert measure_on_later_targets(session)
    # The static int8 form has no file for this target; what was stopped has none at all.
    assert asked == [(name, True) for name in finished if name != "parent-int8"] + [("0010", False)]
    assert measure_on_later_targets(session)
    assert len(asked) == len(finished)
    again = RunRecord.load(session.folder)
    assert again.trials["parent"].values[f"latency_ms/{LATE}"] == 1.0
    assert again.trials["0010"].searched_values == {"size_mb": 1.0, f"latency_ms/{LATE}": 1.0}


def test_what_finishes_later_is_measured_where_it_lacks_figures(
    session: Session, asked: list[tuple[str, bool]]
) -> None:
    measure_on_later_targets(session)
    asked.clear()
    last = STUDY["search"]["epochs"] + 1
    for name, latency in (("0010", {}), ("0011", {}), ("0012", {f"latency_ms/{LATE}": 2.0})):
        if name == "0012":
            session.write("suggestion", trial=name, role="trial", config={}, key=name, origin="x")
        session.write("report", trial=name, step=1, values=latency, decision="continue")
        values = {"accuracy": 0.8, f"accuracy/{LATE}": 0.8}
        session.write("report", trial=name, step=last, values=values, decision="continue")
        session.write("end", trial=name, outcome="finished")
    measure_on_later_targets(session)
    assert asked == [("0011", True)]  # whose first report came before the target


def test_a_worker_that_dies_leaves_a_note(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(self: Session, function: Any, name: str, *given: Any) -> dict[str, Any]:
        if name == "0000":
            raise ray.exceptions.WorkerCrashedError
        return {"values": FIGURES, "measurements": [], "notes": []}

    monkeypatch.setattr(Session, "remotely", die)
    assert measure_on_later_targets(session)
    trial = RunRecord.load(session.folder).trials["0000"]
    assert trial.asked == {LATE}
    assert trial.later == {}
    assert any(note.startswith(f"not measured on {LATE}: ") for note in trial.notes)
    assert (session.folder / trial.traceback).exists()


def test_a_device_that_is_away_is_asked_again_by_a_later_session(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Session, function: Any, *given: Any) -> None:
        raise ray.exceptions.RayTaskError("figures_on", "", BoardLost("the board far does not answer"))

    monkeypatch.setattr(Session, "remotely", away)
    with pytest.raises(RunError, match="far does not answer; when it is there again, go on with: raysearch"):
        measure_on_later_targets(session)
    assert RunRecord.load(session.folder).trials["parent"].asked == set()


def test_a_parent_without_figures_there_ends_in_a_sentence(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"values": {}, "measurements": [], "notes": [f"not measured on {LATE}: it has no Sinh"]}
    monkeypatch.setattr(Session, "remotely", lambda *given: nothing)
    with pytest.raises(
        RunError, match=r"it has no Sinh; give it up with: raysearch resume .* --set targets="
    ):
        measure_on_later_targets(session)

    def die(*given: Any) -> None:
        raise ray.exceptions.WorkerCrashedError

    monkeypatch.setattr(Session, "remotely", die)
    with pytest.raises(RunError, match=f"no figures there: not measured on {LATE}: WorkerCrashedError"):
        measure_on_later_targets(session)
    assert RunRecord.load(session.folder).trials["parent"].asked == set()


def test_nothing_is_measured_once_time_is_over(session: Session, asked: list[tuple[str, bool]]) -> None:
    session.deadline = 0.0
    assert not measure_on_later_targets(session)
    assert asked == []


def test_fewer_bits_than_the_trials_were_trained_with_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    record: Any = SimpleNamespace(header={"weight_bits": 8}, targets=[TARGET])
    narrow: Any = SimpleNamespace(name="narrow", weight_bits=lambda: 7)
    conditions: Any = SimpleNamespace(targets=(get(TARGET), narrow))
    assert targets_that_come(record, conditions) == [narrow]
    with pytest.raises(
        UserError, match=r"^target narrow sums products of integer weights of at most 7 bits, and"
    ):
        check_weight_bits(record, [narrow])
    away = OnNodes(get(LATE), place=Place.of(LATE, {"resource": "jetson"}))
    monkeypatch.setattr("raysearch.backends.on_nodes._nodes", list)
    with pytest.raises(UserError, match=r"^target .* can be added when it is there: no node of the cluster"):
        check_weight_bits(record, [away])
    record.header["weight_bits"] = 7
    check_weight_bits(record, [narrow])
