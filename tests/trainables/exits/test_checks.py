from __future__ import annotations

from typing import Any

import pytest
import torch
from exiting_network import build
from ray import tune
from torch import nn
from torch.utils.data import TensorDataset
from trial_setup import PARENT, small_task

import raysearch as rs
from raysearch import search_spaces as spaces
from raysearch.trainables.task_check import check_task

EXITS = {
    "architecture": spaces.resnet(stages=(1, 2), depth=1, width=(8, 16), exits=("none", "after_stage_1"))
}
ACCURATE = "maximize accuracy"


def study(task: rs.Task | None = None, space: Any = None, **changes: Any) -> rs.Study:
    objectives = [ACCURATE, "minimize mean_latency_ms/onnxruntime-cpu"]
    return rs.Study(task or small_task(), space or EXITS, **{"objectives": objectives, **changes})


def test_mean_latency_is_an_objective_where_some_networks_may_be_left() -> None:
    made = study(constraints=["mean_latency_ms/onnxruntime-cpu <= 0.8 parent", "exit_share <= 0.9"])
    assert made.space.exits
    assert made.parent["architecture"].get("exits") is None
    plain = {"architecture": spaces.resnet(depth=1, width=(8, 16))}
    with pytest.raises(ValueError, match="of networks that may be left early, and none of this space may"):
        study(space=plain)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("torch-cpu", "target torch-cpu runs no branches"),
        ("litert-cpu", "target litert-cpu runs no branches"),
        ({"runtime": "onnxruntime-cpu", "batch": 4}, "has batch 4"),
    ],
)
def test_targets_that_cannot_run_such_a_network_are_refused(target: Any, message: str) -> None:
    if rs.backends.get(target).unavailable():
        pytest.skip("its runtime is not installed")
    with pytest.raises(ValueError, match=message):
        study(targets=[target], objectives=[ACCURATE, "minimize size_mb"])


def test_a_task_without_classes_is_refused() -> None:
    digits = small_task()
    splits = {
        name: TensorDataset(getattr(digits, name).tensors[0], torch.rand(len(getattr(digits, name)), 10))
        for name in ("train", "validation", "test")
    }
    task = small_task(**splits, loss=nn.functional.mse_loss, metrics={"mse": nn.functional.mse_loss})
    with pytest.raises(ValueError, match="hold no class index"):
        study(task, objectives=["minimize mse", "minimize size_mb"])


def test_a_parent_with_an_exit_is_refused() -> None:
    stages = {"stages": 2, "stage2": PARENT["architecture"]["stage1"], "exits": "after_stage_1"}
    parent = {**PARENT, "architecture": {**PARENT["architecture"], **stages}}
    with pytest.raises(ValueError, match="the parent's network has an early exit"):
        study(parent=parent)
    own = {"architecture": {"exits": tune.choice([True, False])}}
    task = small_task(model=build, parent={"architecture": {"exits": True}})
    with pytest.raises(ValueError, match="the parent's network has an early exit"):
        study(task, own)
    with pytest.raises(ValueError, match="the parent's network has an early exit"):
        check_task(small_task(model=build({"exits": True}), parent={}))
