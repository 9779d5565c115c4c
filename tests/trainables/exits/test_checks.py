from __future__ import annotations

from typing import Any

import pytest
import torch
from exiting_network import build
from ray import tune
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from trial_setup import PARENT, small_task

import raysearch as rs
from raysearch import search_spaces as spaces
from raysearch.trainables.exits.labels import labels_of
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


class WithNumbers(Dataset):  # type: ignore[type-arg]
    """Digits whose targets also hold a number for each example, which comes first."""

    def __init__(self, examples: Any, number: torch.dtype, label: torch.dtype) -> None:
        self.examples, self.number, self.label = examples, number, label

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> Any:
        image, label = self.examples[i]
        return image, {"id": torch.tensor(1000 + i, dtype=self.number), "label": label.to(self.label)}


def numbered(number: torch.dtype, label: torch.dtype) -> rs.Task:
    digits = small_task()
    splits = {s: WithNumbers(getattr(digits, s), number, label) for s in ("train", "validation", "test")}

    def loss(outputs: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, targets["label"].long())

    def right(outputs: torch.Tensor, targets: dict[str, torch.Tensor]) -> float:
        return float((outputs.argmax(1) == targets["label"]).double().mean())

    return small_task(**splits, loss=loss, metrics={"right": right})


def test_the_class_index_is_told_from_other_targets_or_the_task_is_refused() -> None:
    objectives = ["maximize right", "minimize mean_latency_ms/onnxruntime-cpu"]
    task = numbered(torch.int32, torch.int64)
    assert study(task, objectives=objectives).space.exits
    batches = [task.example(5), task.example(1)]
    labels = [int(label) for _, label in list(small_task().train)[:5]]
    assert labels_of(batches).tolist() == [*labels, labels[0]]
    with pytest.raises(ValueError, match=r"targets 'id' and 'label' are all int64, .*: give the others"):
        study(numbered(torch.int64, torch.int64), objectives=objectives)
    with pytest.raises(ValueError, match="labels go from 1000 to 1099, and the model has 10 outputs"):
        study(numbered(torch.int64, torch.int32), objectives=objectives)


def test_what_has_as_many_numbers_as_one_batch_has_examples_is_no_class_index() -> None:
    labels, two = torch.tensor([3, 4, 5]), torch.tensor([7, 8])
    batches = [(torch.rand(n, 4), (two, labels[:n])) for n in (2, 3)]
    assert labels_of(batches).tolist() == [3, 4, 3, 4, 5]
