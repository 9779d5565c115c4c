"""The references of a run without a cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from raysearch.backends import get
from raysearch.backends.base import MeasurementError
from raysearch.basics.failures import RunError
from raysearch.record.journal import Journal, read
from raysearch.record.run_record import RunRecord
from raysearch.runs import references as making
from raysearch.runs.cluster.demand import Demand
from raysearch.runs.conducting.conductor import Conductor
from raysearch.runs.references import compare_finalists, make_references, make_static_int8
from raysearch.runs.session import Session
from raysearch.search_spaces import bind
from raysearch.trainables.setup import LONGER


def make_session(folder: Path, target: str) -> Session:
    """A session whose parent is trained; its remote calls need a cluster."""
    conditions = SimpleNamespace(targets=(get(target),), demand=Demand({"CPU": 1.0}), workers=1)
    references = {"parent": {}, LONGER: {}}
    work: Any = SimpleNamespace(conditions=conditions, references=references, space=bind({}))
    table: Any = SimpleNamespace(event=lambda event: None)
    session = Session(work, folder, 1, Journal(folder), RunRecord(), table, float("inf"))
    setup: Any = SimpleNamespace(trial_folder=lambda name: folder / "trials" / name, last_step=lambda name: 1)
    session.setup = setup
    return session


def test_a_runtime_without_a_static_quantisation_has_no_such_rival(tmp_path: Path) -> None:
    session = make_session(tmp_path, "torch-cpu")
    make_static_int8(session)
    assert not session.record.trials


@pytest.mark.parametrize(
    "error", [ray.exceptions.WorkerCrashedError(), ray.exceptions.OutOfMemoryError("out of memory")]
)
def test_a_rival_whose_worker_dies_fails_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def die(session: Session, function: Any) -> Any:
        raise error

    monkeypatch.setattr(Session, "remotely", die)
    session = make_session(tmp_path, "onnxruntime-cpu")
    make_static_int8(session)
    assert session.record.trials["parent-int8"].outcome == "failed"
    assert session.record.trials["parent-int8"].reason


def test_the_rival_is_journalled_with_its_reports_and_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [
        {"step": 0, "values": {"size_mb": 1.0}, "measurements": [], "notes": []},
        {"step": 3, "values": {"accuracy": 0.9}, "measurements": [], "notes": []},
    ]
    calls: list[Any] = []
    monkeypatch.setattr(Session, "remotely", lambda self, function: calls.append(function) or reports)
    session = make_session(tmp_path, "onnxruntime-cpu")
    for _ in range(2):
        make_static_int8(session)
    assert len(calls) == 1
    trial = RunRecord.load(tmp_path).trials["parent-int8"]
    assert (trial.outcome, trial.role) == ("finished", "reference")
    assert trial.key == f"{bind({}).variant({}).key}-int8"
    assert trial.values == {"size_mb": 1.0, "accuracy": 0.9}


def test_a_rival_that_an_earlier_version_was_killed_over_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [{"step": step, "values": {"size_mb": 1.0}, "measurements": [], "notes": []} for step in (0, 3)]
    monkeypatch.setattr(Session, "remotely", lambda self, function: reports)
    session = make_session(tmp_path, "onnxruntime-cpu")
    head = {"role": "reference", "config": {}, "key": "k", "origin": "reference"}
    session.write("suggestion", trial="parent-int8", **head)
    session.write("report", trial="parent-int8", decision="continue", **reports[0])
    make_static_int8(session)
    assert [event["event"] for event in read(tmp_path)] == ["suggestion", "report", "report", "end"]


def test_a_parent_that_a_device_does_not_run_any_more_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: Any) -> None:
        raise MeasurementError("no node has a jetson (waited 5 minutes)")

    monkeypatch.setattr(making, "_set_reference", away)
    session = make_session(tmp_path, "onnxruntime-cpu")
    session.setup.measured = (get("onnxruntime-cpu"),)  # type: ignore[misc]
    with pytest.raises(RunError, match=r"^the parent network cannot be measured, .*: no node has a jetson"):
        making._compare_with_parent(session, SimpleNamespace())  # type: ignore[arg-type]


def test_a_rival_that_fails_leaves_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(session: Session, function: Any) -> Any:
        raise ray.exceptions.RayTaskError("f", "the worker's traceback", ValueError("no"))

    monkeypatch.setattr(Session, "remotely", fail)
    session = make_session(tmp_path, "onnxruntime-cpu")
    make_static_int8(session)
    trial = session.record.trials["parent-int8"]
    assert (tmp_path / trial.traceback).read_text() == "the worker's traceback\n"


@pytest.mark.parametrize("failing", [LONGER, "parent"])
def test_the_parent_alone_must_be_made_and_is_measured_against_from_its_end_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    compared: list[str] = []

    def conduct(conductor: Conductor, *_: Any) -> None:
        while (config := conductor.ask("tune")) is not None:
            if config["trial"] == failing:
                conductor.fail("tune", "the loss became nan")
                continue
            for step in (0, 1):
                conductor.decide("tune", step, {"accuracy": 0.5})

    monkeypatch.setattr(making.tuning, "conduct", conduct)
    monkeypatch.setattr(
        making, "_compare_with_parent", lambda session, _: compared.append(session.folder.name)
    )
    monkeypatch.setattr(making, "make_static_int8", lambda session: None)
    monkeypatch.setattr(Session, "setup_of_trials", None)
    session = make_session(tmp_path, "onnxruntime-cpu")
    if failing == LONGER:
        assert make_references(session, None)  # type: ignore[arg-type]
        assert session.record.trials[LONGER].outcome == "failed"
        assert compared == [tmp_path.name]
    else:
        with pytest.raises(RunError, match="the parent network failed"):
            make_references(session, None)  # type: ignore[arg-type]
        assert LONGER not in session.record.trials
        assert not compared


class Disk:
    """Whether references are whole, and who made them again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lost: set[str], mends: bool = True) -> None:
        self.made: list[tuple[str, Any, bool]] = []

        def remotely(session: Session, function: Any, name: str, curve: Any, *, gpu: bool) -> None:
            self.made.append((name, list(curve), gpu))
            lost.difference_update({name} if mends else ())

        monkeypatch.setattr(Session, "remotely", remotely)
        monkeypatch.setattr(making, "reference_is_whole", lambda setup, name: name not in lost)


def with_finished(session: Session, *names: str) -> Session:
    session.table.begin = lambda text: None
    for name in names:
        head = {"role": "reference", "config": {}, "key": "k", "origin": "reference"}
        session.write("suggestion", trial=name, **head)
        for step in (0, 1):
            session.write("report", trial=name, step=step, values={}, decision="continue")
        session.write("end", trial=name, outcome="finished")
    return session


def test_what_a_trained_reference_has_lost_is_made_again_with_its_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, {"parent", LONGER})
    session = with_finished(make_session(tmp_path, "torch-cpu"), "parent")
    making.make_lost_again(session)
    assert disk.made == [("parent", [0, 1], True)]  # the other one has not been made yet


def test_a_disk_that_loses_everything_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, {"parent"}, mends=False)
    session = with_finished(make_session(tmp_path, "torch-cpu"), "parent")
    for _ in range(3):
        making.make_lost_again(session)
    with pytest.raises(RunError, match="what the parent network has left was lost 3 times"):
        making.make_lost_again(session)
    assert len(disk.made) == 3


def test_what_one_disk_loses_of_every_reference_once_is_one_loss_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {"parent", "larger", LONGER}
    disk = Disk(monkeypatch, lost)
    session = make_session(tmp_path, "torch-cpu")
    session.work.references["larger"] = {}  # type: ignore[index]
    with_finished(session, "parent", "larger", LONGER)
    for again in ("larger", "parent", ""):
        making.make_lost_again(session)
        lost.update({again} - {""})
    assert len(disk.made) == 5


def test_trials_go_on_after_one_missed_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, {"parent"})
    session = with_finished(make_session(tmp_path, "torch-cpu"), "parent")
    monkeypatch.setattr(Session, "setup_of_trials", None)
    seen: list[Any] = []

    def conduct(conductor: Any, *_: Any) -> None:
        conductor.lost = "" if seen else "parent"
        seen.append(conductor)

    monkeypatch.setattr(making.tuning, "conduct", conduct)
    replayed: list[int] = []
    make: Any = lambda: SimpleNamespace(replay=lambda events: replayed.append(len(events)))  # noqa: E731
    session.work.conditions.resources = {}
    assert making.conduct(session, make) is seen[1]
    assert replayed == [0, 4]
    assert [name for name, *_ in disk.made] == ["parent"]


def test_what_trials_miss_and_the_driver_finds_ends_the_run_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, set())
    session = with_finished(make_session(tmp_path, "torch-cpu"), "parent")
    monkeypatch.setattr(Session, "setup_of_trials", None)
    rounds: list[Any] = []

    def conduct(conductor: Any, *_: Any) -> None:
        conductor.lost = "parent"
        rounds.append(conductor)
        assert len(rounds) < 20

    monkeypatch.setattr(making.tuning, "conduct", conduct)
    make: Any = lambda: SimpleNamespace(replay=lambda events: None)  # noqa: E731
    said = f"trials miss what the parent network left in {tmp_path}/references, which is there: do all"
    with pytest.raises(RunError, match=said):
        making.conduct(session, make)
    assert len(rounds) == 4
    assert not disk.made


def test_a_parent_that_cannot_be_compiled_does_not_end_the_run(tmp_path: Path) -> None:
    asked: list[Any] = []

    def set_reference(target: Any, model: bytes, example: Any) -> None:
        asked.append(target)
        if target == "torch-aoti-cpu":
            raise MeasurementError("no such operator")

    (tmp_path / "model.pt2").write_bytes(b"")
    late = (get("torch-compile-cpu"), get("torch-aoti-cpu"))
    setup = SimpleNamespace(measured_last=late, variant_folder=lambda name: tmp_path)
    task = SimpleNamespace(example_input=lambda batch: torch.zeros(batch, 2))
    work = SimpleNamespace(conditions=SimpleNamespace(task=task))
    session: Any = SimpleNamespace(setup=setup, work=work)
    service: Any = SimpleNamespace(set_reference=set_reference)
    assert compare_finalists(session, service) == {"torch-aoti-cpu": "no such operator"}
    assert asked == ["torch-compile-cpu", "torch-aoti-cpu"]
