"""The trainable of Ray Tune, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn
from trial_setup import PARENT, FakeMeasure, make_setup, small_task

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
    assert results[1]["metrics"] == ["accuracy"]
    assert trainable.reset_config({"trial": "0001", **PARENT})
    assert trainable.step()["step"] == 0


def test_a_stage_that_fails_ends_the_trial_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = make(make_setup(tmp_path, small_task(model=broken)), monkeypatch).step()
    assert result["done"]
    assert result["failure"].startswith("RuntimeError: no such layer (test_trial.py, line ")
