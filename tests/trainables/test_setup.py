"""Where a run keeps what, and what its trials report of several targets."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from trial_setup import make_setup, small_task

from raysearch.trainables.task import accuracy


def test_onnx_is_always_among_the_forms_and_each_is_named_once(tmp_path: Path) -> None:
    assert make_setup(tmp_path, targets=("torch-cpu",)).forms == ("uint8", "pt2")
    assert make_setup(tmp_path, targets=("onnxruntime-cpu", "torch-cpu")).forms == ("uint8", "pt2")


def test_a_file_with_signed_integers_narrows_all(tmp_path: Path) -> None:
    assert make_setup(tmp_path).unsigned_bits == 8
    setup = make_setup(tmp_path, targets=("onnxruntime-cpu", "tensorrt"))
    assert (setup.forms, setup.unsigned_bits) == (("uint8", "int8"), 7)


def test_everything_lies_in_the_run_s_folder(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    places = (setup.trial_folder("0001"), setup.variant_folder("0001"), setup.reference_weights("parent"))
    assert [str(place.relative_to(tmp_path)) for place in places] == [
        "trials/0001",
        "variants/0001",
        "references/parent.safetensors",
    ]


def test_of_several_targets_the_worst_stands_for_all(tmp_path: Path) -> None:
    metrics = {"accuracy": accuracy, "rmse": lambda outputs, targets: 0.0}
    setup = replace(make_setup(tmp_path, small_task(metrics=metrics)), maximize={"rmse": False})
    found = setup.over_targets({"a": {"accuracy": 0.9, "rmse": 1.0}, "b": {"accuracy": 0.8, "rmse": 2.0}})
    assert found == {
        "accuracy/a": 0.9,
        "accuracy/b": 0.8,
        "accuracy": 0.8,  # higher is better, of what nothing else is said
        "rmse/a": 1.0,
        "rmse/b": 2.0,
        "rmse": 2.0,
    }
    assert setup.over_targets({}) == {}
    unknown = setup.over_targets({"a": {"accuracy": math.nan, "rmse": 1.0}}, "test_")
    assert math.isnan(unknown["test_accuracy"])
    assert unknown["test_rmse/a"] == 1.0


def test_nan_on_any_target_is_the_worst(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    for pair in ((math.nan, 0.5), (0.5, math.nan)):
        values = {target: {"accuracy": v} for target, v in zip("ab", pair, strict=True)}
        assert math.isnan(setup.over_targets(values)["accuracy"])
