"""The trainable of Ray Tune, by itself and in a plain Tuner."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from trial_setup import PARENT, FakeMeasure, make_setup, small_task

from raysearch import search_spaces as spaces
from raysearch.backends import get
from raysearch.backends.measurement.devices import start_service
from raysearch.backends.measurement.protocol import Protocol
from raysearch.networks.running import TimeLimitExceeded
from raysearch.search_spaces.binding import bind
from raysearch.trainables import trial
from raysearch.trainables.setup import TrialSetup
from raysearch.trainables.trial import CompressionTrial


def broken(plan: Any) -> nn.Module:
    raise RuntimeError("no such layer\nand more")


def make(setup: TrialSetup, monkeypatch: pytest.MonkeyPatch) -> CompressionTrial:
    monkeypatch.setattr(trial, "measure_through", lambda service: FakeMeasure())

    class Bound(CompressionTrial):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, setup)

    return Bound({"trial": "0000", **PARENT})


def test_steps_are_reported_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainable = make(make_setup(tmp_path, epochs=1), monkeypatch)
    results = [trainable.step() for _ in range(3)]
    assert [r["step"] for r in results] == [0, 1, 2]
    assert [r["done"] for r in results] == [False, False, True]
    assert results[1]["raysearch"]["values"] == {"accuracy": results[1]["accuracy"]}
    assert trainable.reset_config({"trial": "0001", **PARENT})
    assert trainable.step()["step"] == 0


def test_a_stage_that_fails_ends_the_trial_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = make(make_setup(tmp_path, small_task(model=broken)), monkeypatch).step()
    assert result.pop("done")
    assert list(result) == ["raysearch"]
    result = result["raysearch"]
    reason = "UserError: making the model fails: RuntimeError: no such layer (test_trial.py, line "
    assert result["failure"].startswith(reason)
    assert "no such layer\nand more" in result["traceback"]
    assert "in broken" in result["traceback"]
    assert not result["stuck"]


def test_work_that_was_stopped_at_its_limit_may_go_on_in_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*arguments: Any) -> None:
        raise TimeLimitExceeded("exporting took longer than 180 s")

    monkeypatch.setattr("raysearch.trainables.hardware.run_limited", hang)
    result = make(make_setup(tmp_path), monkeypatch).step()["raysearch"]
    assert result["stuck"]
    assert result["failure"].startswith("TimeLimitExceeded: exporting took longer than 180 s")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES])
def test_a_state_that_cannot_be_saved_is_no_failure_and_the_trial_goes_on_from_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    setup = make_setup(tmp_path, epochs=2)
    trainable = make(setup, monkeypatch)
    kept = [trainable.step(), trainable.step()]
    with monkeypatch.context() as full:

        def refuse(*arguments: Any) -> None:
            raise OSError(number, os.strerror(number))

        full.setattr("raysearch.storage.files.os.fsync", refuse)
        result = trainable.step()
    folder = setup.trial_folder("0000")
    unsaved = f"{folder} cannot be written: {os.strerror(number)}"
    assert result == {"raysearch": {"unsaved": unsaved, "node": result["raysearch"]["node"]}, "done": True}
    assert [p.name for p in folder.iterdir()] == ["checkpoint.pt"]
    again = make(setup, monkeypatch)
    results = [again.step() for _ in range(4)]
    assert [r["step"] for r in results] == [0, 1, 2, 3]
    assert [r.get("accuracy") for r in results[:2]] == [r.get("accuracy") for r in kept]


@pytest.mark.cluster
def test_a_plain_tuner_samples_and_measures_without_a_study(tmp_path: Path, cluster: None) -> None:
    from ray import tune

    class Hardware(tune.Callback):
        """Keeps the measurements of the first reports."""

        def __init__(self) -> None:
            self.measured: list[dict[str, Any]] = []

        def on_trial_result(self, iteration, trials, trial, result, **info) -> None:  # type: ignore
            self.measured += result["raysearch"]["measurements"]

    space = bind(
        {
            "architecture": spaces.resnet(stages=1, depth=1, width=(8, 16)),
            "bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
            "training": {"lr": tune.loguniform(1e-3, 1e-2), "batch_size": 64},
        },
        parent=PARENT,
    )
    name, target = f"measurement-{uuid.uuid4().hex}", "onnxruntime-cpu"
    setup = TrialSetup(small_task(), space, (get(target),), 1, tmp_path / "run", service=name)
    hardware = Hardware()
    service = start_service(name, Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0))
    try:
        results = tune.Tuner(
            tune.with_parameters(CompressionTrial, setup=setup),
            param_space=setup.space.domains,
            tune_config=tune.TuneConfig(num_samples=2),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0, callbacks=[hardware]),
        ).fit()
    finally:
        service.stop()
    ends = [result.metrics for result in results]
    assert not any("failure" in end["raysearch"] for end in ends)
    assert [end["step"] for end in ends] == [2, 2]
    assert all(0 <= end["accuracy"] <= 1 for end in ends)
    assert [m["target"] for m in hardware.measured] == [target, target]
    assert len({m["reference"] for m in hardware.measured}) == 1
    assert any(m["ratio"] == 1 for m in hardware.measured)
    assert len(list((tmp_path / "run" / "variants").glob("*/model.onnx"))) == 2
