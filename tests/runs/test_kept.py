"""References of an earlier run are taken over where they are made of the same."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from trial_setup import PARENT, FakeMeasure, make_setup

from raysearch import storage
from raysearch.record.journal import Journal
from raysearch.runs.kept import kept_references, made_of
from raysearch.storage import Remote
from raysearch.trainables.setup import LONGER, Kept, Report, TrialSetup
from raysearch.trainables.stages import TrialStages

MAXIMIZE = {"accuracy": True}
DESCRIBED = {"parent": {"training": {"lr": 0.003}}}


def conditions(source: dict[str, Any] | None, **changes: Any) -> Any:
    return SimpleNamespace(**{"task": SimpleNamespace(source=source), "epochs": 9, "seed": 0, **changes})


def test_a_digest_says_what_references_are_made_of(tmp_path: Path) -> None:
    whole = made_of(conditions({"name": "digits"}), DESCRIBED, MAXIMIZE)
    assert whole == made_of(conditions({"name": "digits"}), DESCRIBED, MAXIMIZE) != ""
    assert made_of(conditions(None), DESCRIBED, MAXIMIZE) == ""  # a task of Python may be anything
    others = [
        made_of(conditions({"name": "mnist"}), DESCRIBED, MAXIMIZE),
        made_of(conditions({"name": "digits"}, epochs=8), DESCRIBED, MAXIMIZE),
        made_of(conditions({"name": "digits"}, seed=1), DESCRIBED, MAXIMIZE),
        made_of(conditions({"name": "digits"}), {"parent": {"training": {"lr": 0.004}}}, MAXIMIZE),
    ]
    assert len({whole, *others}) == 5
    module = tmp_path / "mine.py"
    source = {"import": "mine:task", "module_folder": str(tmp_path)}
    codes = []
    for text in ("a = 1", "a = 2", "a = 1"):
        module.write_text(text)
        codes.append(made_of(conditions(source), DESCRIBED, MAXIMIZE))
    assert codes[0] == codes[2] != codes[1]
    (tmp_path / "beside.py").write_text("b = 1")  # which nobody imports
    assert made_of(conditions(source), DESCRIBED, MAXIMIZE) == codes[0]
    assert made_of(conditions({"name": "digits"}), DESCRIBED, {"accuracy": False}) != whole
    nowhere = {"import": "nowhere:task", "module_folder": str(tmp_path)}
    assert made_of(conditions(nowhere), DESCRIBED, MAXIMIZE) == ""  # its code may have changed


@pytest.mark.parametrize(
    "text", ["import nets.blocks", "from nets import blocks", "from nets.blocks import Block", "import first"]
)
def test_modules_that_a_task_imports_are_part_of_its_code(tmp_path: Path, text: str) -> None:
    source = {"import": "mine:task", "module_folder": str(tmp_path)}
    (tmp_path / "mine.py").write_text(f"import torch, missing\n{text}")
    (tmp_path / "first.py").write_text("from nets.blocks import Block\nimport mine")
    package = tmp_path / "nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "blocks.py").write_text("from .sizes import WIDTH\nfrom . import sizes")
    codes = []
    for width in ("8", "16", "8"):
        (package / "sizes.py").write_text(f"WIDTH = {width}")
        codes.append(made_of(conditions(source), DESCRIBED, MAXIMIZE))
    assert codes[0] == codes[2] != codes[1]


DONE = {0: 0.1, 2: 0.5, 4: 0.5}  # of two epochs a cycle: the second brings nothing


def run_of(
    folder: Path, digest: str, accuracies: dict[int, float] = DONE, names: tuple[str, ...] = ("parent",)
) -> None:
    journal = Journal(folder)
    journal.write("run", version=1, study={}, metrics={}, references=digest)
    (folder / "references").mkdir()
    for name in names:
        journal.write("suggestion", trial=name, role="reference", config={}, key="k", origin="reference")
        curve = {**(accuracies if name != LONGER else {0: 0.5, 2: 0.6}), 9 if name != LONGER else 3: 0.5}
        for step, value in curve.items():
            journal.write("report", trial=name, step=step, values={"accuracy": value}, decision="continue")
        journal.write("end", trial=name, outcome="finished")
        save_file({"w": torch.ones(1)}, folder / "references" / f"{name}.safetensors")
    journal.close()


def beside(folder: Path | Remote, digest: str) -> dict[str, Kept]:
    """What a new run of two epochs a trial would take over."""
    setup = make_setup(folder / "new")  # type: ignore[arg-type]
    return kept_references(replace(setup, references={"parent": PARENT, LONGER: PARENT}), digest)


def first(kept: Kept) -> float:
    return kept.curve[0]["accuracy"]


def test_the_latest_run_beside_that_is_made_of_the_same(tmp_path: Path) -> None:
    for i, digest in enumerate(["same", "same", "other"]):
        run_of(tmp_path / f"run{i}", digest, {**DONE, 0: float(i)})
    (tmp_path / "none").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "journal.jsonl").write_text("no JSON\n")
    run_of(tmp_path / "torn", "same")
    with (tmp_path / "torn" / "journal.jsonl").open("a") as file:
        file.write("no JSON\n")
    found = beside(tmp_path, "same")
    assert {name: kept.weights for name, kept in found.items()} == {
        "parent": str(tmp_path / "run1" / "references" / "parent.safetensors")
    }
    assert first(found["parent"]) == 1.0
    assert beside(tmp_path, "") == beside(tmp_path, "third") == {}
    (tmp_path / "run1" / "references" / "parent.safetensors").unlink()
    assert first(beside(tmp_path, "same")["parent"]) == 0.0


def test_what_was_cut_short_is_not_taken_over_nor_what_was_trained_on_from_it(tmp_path: Path) -> None:
    run_of(tmp_path / "whole", "same", names=("parent", LONGER))
    assert set(beside(tmp_path, "same")) == {"parent", LONGER}
    for cut in ({0: 0.1, 2: 0.5}, {0: 0.1, 2: 0.5, 4: 0.7}):  # a cycle; two, and it was still learning
        folder = tmp_path / f"after {len(cut)}"
        run_of(folder / "short", "same", cut, names=("parent", LONGER))
        assert beside(folder, "same") == {}
    run_of(tmp_path / "latest", "same", {0: 0.1, 2: 0.5}, names=("parent", LONGER))
    assert {Path(k.weights).parent.parent.name for k in beside(tmp_path, "same").values()} == {"whole"}


def test_runs_beside_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.record.lease._SETTLED_S", 0.0)
    runs = Remote(f"memory://{uuid.uuid4().hex}/runs")
    for i, digest in enumerate(["same", "other"]):
        run_of(tmp_path / f"run{i}", digest)
        for file in (p for p in (tmp_path / f"run{i}").rglob("*") if p.is_file()):
            storage.write(runs / f"run{i}" / file.relative_to(tmp_path / f"run{i}"), file.read_bytes())
    storage.write(runs / "notes.txt", "no run")
    weights = f"{runs}/run0/references/parent.safetensors"
    assert {name: kept.weights for name, kept in beside(runs, "same").items()} == {"parent": weights}


def reports(setup: TrialSetup, name: str = "parent") -> list[Report]:
    stages = TrialStages(setup, name, PARENT, FakeMeasure())
    found = [stages.next_report()]
    while found[-1].step < stages.last_step:
        found.append(stages.next_report())
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialSetup, list[Report]]:
    torch.set_num_threads(1)
    setup = make_setup(tmp_path_factory.mktemp("earlier"), epochs=3)
    return setup, reports(setup)


def test_a_network_that_was_trained_is_the_same_without_training(
    trained: tuple[TrialSetup, list[Report]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, before = trained
    kept = Kept(str(earlier.reference_weights("parent")), {r.step: r.values for r in before})
    setup = replace(make_setup(tmp_path, epochs=3), kept={"parent": kept})
    monkeypatch.setattr(TrialStages, "_train", lambda *_: pytest.fail("it was trained again"))
    again = reports(setup)
    assert [(r.step, r.values.get("accuracy")) for r in again] == [
        (r.step, r.values.get("accuracy")) for r in before
    ]
    assert len(before) > 5  # more than one cycle
    assert again[1].notes == ["trained in an earlier run of the same task, and taken over"]
    weights = [load_file(s.reference_weights("parent")) for s in (earlier, setup)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_figures_of_the_earlier_runs_targets_and_exits_are_left_out(
    trained: tuple[TrialSetup, list[Report]], tmp_path: Path
) -> None:
    earlier, before = trained
    others = {"exit_share": 0.5, "mean_latency_ms/elsewhere": 1.0, "latency_ms/elsewhere": 2.0}
    curve = {r.step: {**r.values, **others} for r in before}
    kept = Kept(str(earlier.reference_weights("parent")), curve)
    again = reports(replace(make_setup(tmp_path, epochs=3), kept={"parent": kept}))
    assert again[1].notes == ["trained in an earlier run of the same task, and taken over"]
    assert [set(r.values) for r in again[1:-1]] == [{"accuracy"}] * len(again[1:-1])
    assert not any(others.keys() & r.values.keys() for r in again)


@pytest.mark.parametrize("what", ["other metrics", "other layers", "no file"])
def test_what_is_not_the_same_is_trained(
    trained: tuple[TrialSetup, list[Report]], tmp_path: Path, what: str
) -> None:
    earlier, before = trained
    curve = {r.step: dict(r.values) for r in before}
    weights = tmp_path / "weights.safetensors"
    if what == "other layers":
        save_file({"w": torch.ones(1)}, weights)
    if what == "other metrics":
        weights.write_bytes(earlier.reference_weights("parent").read_bytes())
        curve[max(curve)]["accuracy"] += 0.1
    setup = replace(make_setup(tmp_path, epochs=3), kept={"parent": Kept(str(weights), curve)})
    again = reports(setup)
    assert not again[1].notes
    assert [r.values.get("accuracy") for r in again] == [r.values.get("accuracy") for r in before]


def test_a_reference_goes_on_as_it_began_whatever_other_runs_leave(
    trained: tuple[TrialSetup, list[Report]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, before = trained
    accuracies = [r.values.get("accuracy") for r in before]
    kept = Kept(str(earlier.reference_weights("parent")), {r.step: r.values for r in before})
    alone = make_setup(tmp_path / "alone", epochs=3)
    stages = TrialStages(alone, "parent", PARENT, FakeMeasure())
    for _ in range(3):
        stages.next_report()
    found = reports(replace(alone, kept={"parent": kept}))  # somebody has trained the same meanwhile
    assert not any(r.notes for r in found)
    assert [r.values.get("accuracy") for r in found] == accuracies
    taking = make_setup(tmp_path / "taking", epochs=3)
    stages = TrialStages(replace(taking, kept={"parent": kept}), "parent", PARENT, FakeMeasure())
    for _ in range(3):
        stages.next_report()
    monkeypatch.setattr(TrialStages, "_train", lambda *_: pytest.fail("it was trained again"))
    assert [r.values.get("accuracy") for r in reports(taking)] == accuracies  # the other run is gone
