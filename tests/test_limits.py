"""Other limits for a run that has begun: what is refused, in a sentence and before any work."""

# ruff: noqa: E501  each line of a table is one case with its sentence
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_run import STUDY, TARGET, make_events, write_run
from typer.testing import CliRunner

from raysearch import limits
from raysearch.backends import get
from raysearch.basics.failures import UserError
from raysearch.cli.main import app
from raysearch.limits import changed_study, changed_work, check_change
from raysearch.record.run_record import RunRecord
from raysearch.study import study_of
from raysearch.study_file.schema import parse

HELD: dict[str, Any] = {**{key: value for key, value in STUDY.items() if key != "parent"}, "constraints": []}
ANOTHER = ": begin another run for it"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose trials have no throughput and no share of nonzero weights."""
    return write_run(tmp_path_factory.mktemp("runs") / "run", make_events(9, study=HELD))


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not refused would begin."""
    monkeypatch.setattr("raysearch.resume.go_on", lambda *given, **named: pytest.fail("work began"))


REFUSED = {
    "a metric that nobody knows": (
        "constraints=[acuracy >= 0.9]",
        'constraint "acuracy >= 0.9" is on a metric that nothing reports; did you mean \'accuracy\'?',
    ),
    "no list": ("constraints=accuracy >= 0.9", "constraints is 'accuracy >= 0.9': give a list"),
    "no constraint": ("constraints=[accuracy is high]", 'constraint "accuracy is high" is not "METRIC <= NUMBER"'),
    "constraints that contradict each other": (
        "constraints=[macs >= 9, macs <= 3]",
        'constraints "macs <= 3" and "macs >= 9" cannot both be kept: give one of them',
    ),
    "a constraint that trials lack": (
        f"constraints=[throughput/{TARGET} >= 100]",
        f'constraint "throughput/{TARGET} >= 100" is on a metric that parent, 0000, 0001 and 2 more finished '
        f"without{ANOTHER}",
    ),
    "no objective": ("objectives=[]", "objectives is empty: give at least one, such as 'maximize accuracy'"),
    "no list of objectives": ("objectives=3", "objectives is 3: give a list"),
    "an objective that nobody reported": (
        "objectives=[maximize accuracy, minimize nonzero_rate]",
        'objective "minimize nonzero_rate" is on a metric that parent, 0000, 0001 and 2 more finished '
        f"without{ANOTHER}",
    ),
    "an objective on a target that is none of the run's": (
        "objectives=[maximize accuracy, minimize latency_ms/torch-cpu]",
        'objective "minimize latency_ms/torch-cpu" is on a metric that nothing reports; did you mean',
    ),
    "an objective the other way round": (
        "objectives=[minimize accuracy, minimize macs]",
        "more of accuracy was better so far, and now it would be the other way round: name it in an objective",
    ),
    "a target that is left out": (
        "targets=[torch-cpu]",
        f"targets leaves out {TARGET}, on which networks of the run were measured: targets may be added, and",
    ),
    "a target with other options": (
        f"targets=[{{runtime: {TARGET}, threads: 2}}]",
        f"targets has other options for {TARGET} than the run: give what is added a name of its own",
    ),
    "a target twice": (f"targets=[{TARGET}, torch-cpu, torch-cpu]", "targets name torch-cpu twice: name each once"),
    "a target of the run twice": (
        f"targets=[{TARGET}, {{runtime: {TARGET}, batch: 8}}]",
        f"targets name {TARGET} twice: name each once, or give one a name of its own",
    ),
    "a target that nobody knows": (f"targets=[{TARGET}, torch-cup]", "target 'torch-cup' is unknown: did you mean"),
    "no targets": ("targets=[]", "targets is []: "),
    "a target that is not there": (f"targets=[{TARGET}, torch-cuda]", "target torch-cuda is not available: "),
    "no value": ("constraints", "--set 'constraints' is not KEY=VALUE, such as a.key=3"),
    "what is no limit": ("space.training.lr=0.1", "space.training.lr cannot be changed in a run that has begun, only"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_limits_are_one_sentence_and_exit_code_2(name: str, folder: Path) -> None:
    change, sentence = REFUSED[name]
    before = (folder / "journal.jsonl").read_bytes()
    done = CliRunner().invoke(app, ["resume", str(folder), "--set", change])
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"raysearch: {sentence}")
    assert (folder / "journal.jsonl").read_bytes() == before


def test_a_sweep_has_no_limits(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_events(1, study={**HELD, "sweep": {}}))
    done = CliRunner().invoke(app, ["resume", str(folder), "--set", "constraints=[macs <= 1e6]"])
    assert done.exit_code == 2
    assert done.stderr.strip().endswith("holds a sweep, which measures all its points: leave out constraints")


def record_of(folder: Path) -> RunRecord:
    return RunRecord.load(folder)


def test_limits_that_hold_are_no_change(folder: Path) -> None:
    record = record_of(folder)
    before = study_of(parse(record.header["study"])).work
    same = {name: record.header["study"][name] for name in ("objectives", "constraints", "targets")}
    assert check_change(record, before, study_of(parse(changed_study(before.described, same))).work) == {}


def test_what_changes_is_said_whole(folder: Path) -> None:
    record = record_of(folder)
    before = study_of(parse(record.header["study"])).work
    asked = {"constraints": ["accuracy>=parent-0.010"], "targets": ["torch-cpu", TARGET]}
    after = study_of(parse(changed_study(before.described, asked))).work
    assert check_change(record, before, after) == {
        "objectives": HELD["objectives"],
        "constraints": ["accuracy >= parent - 0.01"],
        "targets": [TARGET, "torch-cpu"],  # the run's own first, whose file is weighed
    }


def test_a_target_that_gave_no_figure_may_go_again_with_what_was_asked_of_it(tmp_path: Path) -> None:
    asked = {"objectives": ["maximize accuracy", "minimize latency_ms/torch-cpu"], "constraints": []}
    events = make_events(9, study=HELD)
    events.append({"event": "limits", "time": 1.0, **asked, "targets": [TARGET, "torch-cpu"]})
    record = record_of(write_run(tmp_path / "away", events))
    given = {"targets": [TARGET], "constraints": ["macs <= 1e+06"]}
    work, changed = changed_work(record, given, lambda study: study_of(parse(study)).work)
    assert changed == {**given, "objectives": HELD["objectives"]} == {n: work.described[n] for n in changed}
    measured = {"trial": "parent", "target": "torch-cpu", "values": {"latency_ms/torch-cpu": 1.0}}
    record.apply({"event": "measured", "time": 2.0, **measured})
    with pytest.raises(UserError, match=r"^targets leaves out torch-cpu, on which networks of the run were"):
        changed_work(record, given, lambda study: study_of(parse(study)).work)
    both = {"event": "limits", "time": 2.5, **asked, "targets": [TARGET, "torch-cpu", "openvino-cpu"]}
    record.apply(both)  # what gave a figure does not go with what gave none
    with pytest.raises(UserError, match=r"^targets leaves out torch-cpu, on which networks of the run were"):
        changed_work(record, given, lambda study: study_of(parse(study)).work)
    record.apply({"event": "limits", "time": 3.0, **changed})
    assert record.later_targets == []


@dataclass(frozen=True)
class Other:
    """A target of another kind."""

    name: str = "other"
    form: str = "uint8"
    integers_only: bool = False

    def estimate(self, path: Path, example: Any) -> Any:
        """Nothing: it makes this a target that may compute in integers alone."""


KINDS = {
    "layers rounded throughout": (Other(form="litert"), "wants what every layer gives rounded, and the trials"),
    "signed activations": (Other(form="int8"), "wants activations in signed integers, and the trials were"),
    "nothing in float": (Other(integers_only=True), "says nothing of networks in float, such as the parent"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_target_that_wants_other_networks_is_refused(name: str) -> None:
    target, why = KINDS[name]
    plain = SimpleNamespace(exits=False)
    work: Any = SimpleNamespace(conditions=SimpleNamespace(targets=(get(TARGET),)), space=plain)
    with pytest.raises(UserError, match=f"^target other {why}.*{ANOTHER}$"):
        limits._check_target(work, target)  # type: ignore[arg-type]
    limits._check_target(work, Other())  # type: ignore[arg-type]
    of_its_kind: Any = SimpleNamespace(conditions=SimpleNamespace(targets=(get(TARGET), target)), space=plain)
    if target.form != "uint8":
        limits._check_target(of_its_kind, replace(target, name="second"))  # type: ignore[arg-type]


def test_a_target_that_comes_after_early_exits_is_refused() -> None:
    conditions = SimpleNamespace(targets=(get(TARGET),))
    work: Any = SimpleNamespace(space=SimpleNamespace(exits=True), conditions=conditions)
    with pytest.raises(
        UserError, match=f"target other comes later, and early exits are measured .*{ANOTHER}$"
    ):
        limits._check_target(work, Other())  # type: ignore[arg-type]


def test_a_direction_that_comes_late_is_refused_where_the_worst_target_counted() -> None:
    def work(targets: int, **maximize: bool) -> Any:
        names = [SimpleNamespace(name=f"t{i}") for i in range(targets)]
        return SimpleNamespace(maximize=maximize, conditions=SimpleNamespace(targets=names))

    limits._check_directions(work(1), work(1, rmse=False))
    limits._check_directions(work(2), work(2, f1=True))
    with pytest.raises(
        UserError, match="of several targets the least counted: name a target's own, such as rmse/t0"
    ):
        limits._check_directions(work(2), work(2, rmse=False))
    with pytest.raises(UserError, match="more of rmse was worse so far, and nothing says it any more"):
        limits._check_directions(work(1, rmse=False), work(1))
