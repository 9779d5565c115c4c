"""What step 0 predicts is measured before a trial trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from trial_setup import EIGHT_BITS, PARENT, FakeMeasure, make_setup

from raysearch.backends.base import Backend
from raysearch.backends.measurement.spared import Description
from raysearch.backends.predictor import features, operators_of
from raysearch.backends.structure import structure_key
from raysearch.trainables.setup import FILES, TrialSetup
from raysearch.trainables.stages import TrialStages

TARGETS = ("onnxruntime-cpu", "torch-cpu")


class Predicting(FakeMeasure):
    """Predicts what may be predicted on some targets; keeps what it was told of each model."""

    def __init__(self, *targets: str) -> None:
        super().__init__()
        self.targets = targets
        self.told: list[tuple[str, Description | None]] = []

    def __call__(
        self, target: Backend, path: Path, example: Any, description: Description | None = None, **how: Any
    ) -> dict[str, Any]:
        self.told.append((target.name, description))
        found = super().__call__(target, path, example, **how)
        if description is not None and description.spare and target.name in self.targets:
            assert description.structure == structure_key(path)
            return {"target": target.name, "latency_ms": 99.0, "interval": [90.0, 108.0], "noise": 0.09}
        return found


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TrialSetup:
    torch.set_num_threads(1)
    setup = make_setup(tmp_path_factory.mktemp("run"), targets=TARGETS)
    parent = TrialStages(setup, "parent", PARENT, FakeMeasure())
    while parent.next_report().step < parent.last_step:
        pass
    return setup


def test_what_was_predicted_is_measured_when_the_trial_goes_on(setup: TrialSetup) -> None:
    measure = Predicting("torch-cpu")
    waiting = TrialStages(setup, "0000", EIGHT_BITS, measure)
    first = waiting.next_report()
    assert first.values["latency_ms/torch-cpu"] == 99.0
    assert first.values["latency_ms/onnxruntime-cpu"] < 99.0
    # It was chosen, and goes on in another process.
    promoted = TrialStages(setup, "0000", EIGHT_BITS, measure)
    assert promoted.next_report().values == first.values
    epoch = promoted.next_report()
    assert [m["target"] for m in epoch.measurements] == ["torch-cpu"]
    assert 0 < epoch.values["latency_ms/torch-cpu"] < 99.0
    assert "latency_ms/onnxruntime-cpu" not in epoch.values
    assert [(name, told and told.spare) for name, told in measure.told] == [
        ("onnxruntime-cpu", True),
        ("torch-cpu", True),
        ("torch-cpu", False),
    ]
    # It is the file that was predicted.
    assert measure.told[1][1]
    assert measure.told[2][1]
    assert measure.told[1][1].structure == measure.told[2][1].structure
    assert measure.told[1][1].operators == measure.told[2][1].operators
    later = promoted.next_report()
    assert later.measurements == []


def test_what_was_measured_is_not_measured_twice(setup: TrialSetup) -> None:
    measure = Predicting()
    trial = TrialStages(setup, "0001", EIGHT_BITS, measure)
    assert trial.next_report().measurements
    assert trial.next_report().measurements == []
    assert len(measure.told) == len(TARGETS)


def test_training_is_the_same_whether_a_latency_was_predicted_or_not(setup: TrialSetup) -> None:
    found: list[Mapping[str, float]] = []
    for name, measure in (("0002", Predicting()), ("0003", Predicting(*TARGETS))):
        trial = TrialStages(setup, name, EIGHT_BITS, measure)
        trial.next_report()
        found.append(trial.next_report().values)
    assert found[0]["accuracy"] == found[1]["accuracy"]


def test_operators_are_read_from_the_onnx_file_whatever_runs(setup: TrialSetup) -> None:
    measure = Predicting()
    trial = TrialStages(setup, "0004", PARENT, measure)
    trial.next_report()
    told = dict(measure.told)
    assert told["torch-cpu"]
    assert told["onnxruntime-cpu"]
    assert told["torch-cpu"].operators == told["onnxruntime-cpu"].operators
    assert told["torch-cpu"].structure != told["onnxruntime-cpu"].structure
    trained = setup.variant_folder("parent") / FILES["uint8"]
    assert told["torch-cpu"].operators == features(operators_of(trained))
