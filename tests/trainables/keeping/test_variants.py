"""What a disk has damaged is made again, and is what it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trial_setup import EIGHT_BITS, PARENT, FakeMeasure, make_setup

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.trainables.keeping import variants
from raysearch.trainables.keeping.references import LostReference, read_weights
from raysearch.trainables.keeping.variants import (
    EXPORTED,
    RUN_AGAIN,
    make_again,
    reference_is_whole,
    restore,
    variant_is_whole,
)
from raysearch.trainables.setup import Report, TrialSetup
from raysearch.trainables.stages import TrialStages


def run_trial(setup: TrialSetup, name: str, config: dict) -> list[Report]:
    run = TrialStages(setup, name, config, FakeMeasure())
    found = [run.next_report()]
    while found[-1].step < run.last_step:
        found.append(run.next_report())
    shutil.rmtree(setup.trial_folder(name))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Report]]:
    """The folder of a run with a parent and a trial, and what the parent reported."""
    torch.set_num_threads(1)
    setup = make_setup(tmp_path_factory.mktemp("run"), epochs=1)
    reports = run_trial(setup, "parent", PARENT)
    run_trial(setup, "0000", EIGHT_BITS)
    return setup.folder, reports


@pytest.fixture
def setup(whole: tuple[Path, list[Report]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialSetup:
    monkeypatch.setattr(variants, "measure_through", lambda service: FakeMeasure())
    shutil.copytree(whole[0], tmp_path / "run")
    setup = make_setup(tmp_path / "run", epochs=1)
    return replace(setup, made=frozenset({"parent"}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_model_file_is_exported_again(setup: TrialSetup, damage: Callable[[Path], None]) -> None:
    model = setup.variant_folder("0000") / "model.onnx"
    before = model.read_bytes()
    assert restore(setup, "0000", EIGHT_BITS) == ""
    damage(model)
    assert not variant_is_whole(setup, "0000")
    assert restore(setup, "0000", EIGHT_BITS) == EXPORTED
    assert model.read_bytes() == before
    assert variant_is_whole(setup, "0000")
    assert {p.name for p in (setup.folder / "variants").iterdir()} == {"parent", "0000"}


@pytest.mark.parametrize("file", ["spec.json", "weights.safetensors"])
def test_where_that_is_damaged_too_the_trial_is_run_again(setup: TrialSetup, file: str) -> None:
    folder = setup.variant_folder("0000")
    before = {name: t.clone() for name, t in read_weights(folder / "weights.safetensors").items()}
    cut(folder / file)
    assert restore(setup, "0000", EIGHT_BITS) == RUN_AGAIN
    after = read_weights(folder / "weights.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert variant_is_whole(setup, "0000")
    assert not setup.trial_folder("0000").exists()


def test_storage_that_does_not_answer_has_lost_nothing(
    setup: TrialSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    (setup.variant_folder("0000") / "model.onnx").unlink()

    def away(*_: object, **__: object) -> bytes:
        raise StorageError("s3://bucket cannot be used: no answer (tried for 300 s)")

    monkeypatch.setattr(variants, "_run_through", lambda *_: pytest.fail("it was trained again"))
    with monkeypatch.context() as patched:
        patched.setattr(storage, "read", away)
        with pytest.raises(StorageError):
            reference_is_whole(setup, "parent")
        with pytest.raises(StorageError):
            make_again(setup, "parent", {})
    monkeypatch.setattr(storage, "staged", away)
    with pytest.raises(StorageError):
        restore(setup, "0000", EIGHT_BITS)


def test_a_variant_of_an_earlier_version_is_whole_with_all_its_files(setup: TrialSetup) -> None:
    folder = setup.variant_folder("0000")
    spec = json.loads((folder / "spec.json").read_text())
    del spec["sha256"]
    (folder / "spec.json").write_text(json.dumps(spec))
    assert variant_is_whole(setup, "0000")
    (folder / "model.onnx").unlink()
    assert restore(setup, "0000", EIGHT_BITS) == EXPORTED


def test_the_driver_misses_of_a_parent_what_the_trials_miss(setup: TrialSetup) -> None:
    setup.parts_file.unlink()  # as in a run that was begun before there was such a file
    with pytest.raises(LostReference):
        run_trial(setup, "0001", EIGHT_BITS)
    assert not reference_is_whole(replace(setup, made=frozenset()), "parent")


@pytest.mark.parametrize(
    "lost", ["references/parent.safetensors", "references/parent.parts.json", "variants/parent"]
)
def test_a_lost_reference_is_made_again_as_it_was(
    setup: TrialSetup, whole: tuple[Path, list[Report]], lost: str
) -> None:
    path = setup.folder / lost
    before = read_weights(setup.reference_weights("parent"))
    model = (setup.variant_folder("parent") / "model.onnx").read_bytes()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not reference_is_whole(setup, "parent")
    curve = {report.step: report.values for report in whole[1]}
    make_again(setup, "parent", curve)
    assert reference_is_whole(setup, "parent")
    after = read_weights(setup.reference_weights("parent"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (setup.variant_folder("parent") / "model.onnx").read_bytes() == model


def test_a_reference_that_ran_out_of_time_is_not_trained_for_longer_now(
    setup: TrialSetup, whole: tuple[Path, list[Report]]
) -> None:
    short = replace(setup, patience=0.0, folder=setup.folder / "short", made=frozenset())
    reports = run_trial(short, "parent", PARENT)
    assert [r.step for r in reports] == [0, 1, short.last_step("parent")]
    before = read_weights(short.reference_weights("parent"))
    short.reference_weights("parent").unlink()
    make_again(replace(short, patience=1e12), "parent", {r.step: r.values for r in reports})
    after = read_weights(short.reference_weights("parent"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_trial_says_which_reference_it_misses(setup: TrialSetup) -> None:
    setup.reference_weights("parent").unlink()
    with pytest.raises(LostReference) as raised:
        TrialStages(setup, "0001", EIGHT_BITS, FakeMeasure())
    assert raised.value.name == "parent"
    TrialStages(replace(setup, made=frozenset()), "0001", EIGHT_BITS, FakeMeasure())  # there never was one


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_trial_whose_checkpoint_is_damaged_begins_again_to_the_same_end(
    setup: TrialSetup, damage: Callable[[Path], None]
) -> None:
    whole = run_trial(setup, "same", EIGHT_BITS)
    run = TrialStages(setup, "0002", EIGHT_BITS, FakeMeasure())
    for _ in range(2):
        run.next_report()
    damage(setup.trial_folder("0002") / "checkpoint.pt")
    again = run_trial(setup, "0002", EIGHT_BITS)
    assert [(r.step, r.values) for r in again] == [(r.step, r.values) for r in whole]
    said = "its checkpoint was damaged ("
    assert all(any(note.startswith(said) for note in r.notes) == (damage is not Path.unlink) for r in again)


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_reference_whose_best_state_is_lost_begins_again(
    setup: TrialSetup, whole: tuple[Path, list[Report]], damage: Callable[[Path], None]
) -> None:
    again = replace(setup, folder=setup.folder / "again", made=frozenset())
    run = TrialStages(again, "parent", PARENT, FakeMeasure())
    steps = []
    while not steps or steps[-1].step < whole[1][-2].step:
        steps.append(run.next_report())
    damage(again.trial_folder("parent") / "best.pt")
    while steps[-1].step < run.last_step:
        steps.append(run.next_report())
    values = {report.step: report.values for report in steps}
    assert values == {report.step: report.values for report in whole[1]}
    assert len(steps) > len(values)
    assert any("the best state of its training was lost" in note for note in steps[-1].notes)
