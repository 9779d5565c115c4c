"""Figures on a target that came later are those of a trial that had it from the beginning."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trial_setup import EIGHT_BITS, PARENT, FakeMeasure, make_setup

from raysearch import storage
from raysearch.backends.base import MeasurementError
from raysearch.trainables.finalists import STATIC_INT8
from raysearch.trainables.keeping import later_targets
from raysearch.trainables.keeping.later_targets import figures_on
from raysearch.trainables.keeping.variants import variant_is_whole
from raysearch.trainables.setup import Report, TrialSetup
from raysearch.trainables.stages import TrialStages

FIRST, LATE = "onnxruntime-cpu", "torch-cpu"


def run_trial(setup: TrialSetup, name: str, config: dict) -> list[Report]:
    run = TrialStages(setup, name, config, FakeMeasure())
    found = [run.next_report()]
    while found[-1].step < run.last_step:
        found.append(run.next_report())
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Report], list[Report]]:
    """The folder of a run on one target; what its trial reported, and the same one of a run on both."""
    torch.set_num_threads(1)
    one = make_setup(tmp_path_factory.mktemp("one"), epochs=1)
    both = make_setup(tmp_path_factory.mktemp("both"), epochs=1, targets=(FIRST, LATE))
    for setup in (one, both):
        run_trial(setup, "parent", PARENT)
    return one.folder, run_trial(one, "0000", EIGHT_BITS), run_trial(both, "0000", EIGHT_BITS)


@pytest.fixture
def setup(
    ran: tuple[Path, list[Report], list[Report]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TrialSetup:
    """Of the run on one target, to which another has come."""
    monkeypatch.setattr(later_targets, "measure_through", lambda service: FakeMeasure())
    shutil.copytree(ran[0], tmp_path / "run")
    setup = make_setup(tmp_path / "run", epochs=1, targets=(FIRST, LATE))
    return replace(setup, made=frozenset({"parent"}))


def of(target: str, reports: list[Report]) -> dict[str, float]:
    """The figures of a target, without those that depend on a file's size."""
    values = {key: value for report in reports for key, value in report.values.items()}
    return {k: v for k, v in values.items() if k.endswith(f"/{target}") and "latency" not in k}


def known_of(reports: list[Report]) -> dict[str, float]:
    return {key: value for report in reports for key, value in report.values.items()}


def test_a_finished_trial_is_measured_from_its_files(ran, setup: TrialSetup) -> None:
    _, reports, both = ran
    before = storage.read(setup.variant_folder("0000") / "model.onnx")
    found = figures_on(setup, "0000", EIGHT_BITS, LATE, known_of(reports), True)
    values = found["values"]
    assert values.keys() == {*of(LATE, both), f"latency_ms/{LATE}", f"throughput/{LATE}", "accuracy"}
    measured = {f"throughput/{LATE}": values[f"throughput/{LATE}"]}
    assert {k: values[k] for k in of(LATE, both)} == pytest.approx({**of(LATE, both), **measured})
    assert values["accuracy"] == min(reports[-1].values["accuracy"], values[f"accuracy/{LATE}"])
    assert [m["target"] for m in found["measurements"]] == [LATE]
    assert found["notes"] == []
    assert (setup.variant_folder("0000") / "model.pt2").exists()
    assert storage.read(setup.variant_folder("0000") / "model.onnx") == before
    assert variant_is_whole(setup, "0000")


def test_a_trial_that_waits_is_measured_as_it_was_before_training(ran, setup: TrialSetup) -> None:
    _, reports, both = ran
    found = figures_on(setup, "0000", EIGHT_BITS, LATE, known_of(reports[:1]), False)
    static = {k for k in both[0].values if k.endswith(f"/{LATE}")}
    assert found["values"].keys() == static
    assert found["step"] == 0
    key = f"peak_memory_mb/{LATE}"
    assert found["values"][key] == both[0].values[key]
    assert not (setup.variant_folder("0000") / "model.pt2").exists()


@pytest.mark.parametrize("file", ["weights.safetensors", "spec.json", ""])
def test_whose_files_are_gone_has_no_figure_and_says_so(ran, setup: TrialSetup, file: str) -> None:
    place = setup.variant_folder("0000")
    storage.remove(place / file if file else place)
    found = figures_on(setup, "0000", EIGHT_BITS, LATE, known_of(ran[1]), True)
    assert (found["values"], found["measurements"]) == ({}, [])
    assert found["notes"] == [f"not measured on {LATE}: its files are gone or damaged"]


def test_a_damaged_model_file_is_exported_again_first(ran, setup: TrialSetup) -> None:
    model = setup.variant_folder("0000") / "model.onnx"
    model.unlink()
    assert figures_on(setup, "0000", EIGHT_BITS, LATE, known_of(ran[1]), True)["values"]
    assert variant_is_whole(setup, "0000")


def test_what_the_target_refuses_is_a_note(ran, setup: TrialSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise MeasurementError("it has no such operator")

    monkeypatch.setattr(later_targets, "measure_through", lambda service: refuse)
    found = figures_on(setup, "0000", EIGHT_BITS, LATE, known_of(ran[1]), True)
    assert (found["values"], found["notes"]) == ({}, [f"not measured on {LATE}: it has no such operator"])


def test_what_a_runtime_made_of_the_parent_is_measured_too(ran, setup: TrialSetup) -> None:
    """Its static int8 form has a file, and no weights to export others from."""
    folder = setup.variant_folder(STATIC_INT8)
    folder.mkdir()
    shutil.copy(setup.variant_folder("0000") / "model.onnx", folder)
    known = {f"accuracy/{FIRST}": 0.5}
    of_both = replace(setup, targets=(setup.targets[1], setup.targets[0]))
    found = figures_on(of_both, STATIC_INT8, PARENT, FIRST, known, True)
    expected = figures_on(of_both, "0000", EIGHT_BITS, FIRST, {}, True)["values"]["accuracy"]
    assert found["values"][f"accuracy/{FIRST}"] == pytest.approx(expected)
    assert found["values"].keys() == {
        f"accuracy/{FIRST}",
        "accuracy",
        f"latency_ms/{FIRST}",
        f"throughput/{FIRST}",
    }
