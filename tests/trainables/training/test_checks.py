"""Settings that a task or a device cannot have, before any work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ray import tune
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from trial_setup import small_task

from raysearch import search_spaces as spaces
from raysearch import tasks
from raysearch.runs.conditions import check_conditions
from raysearch.trainables.task import Task
from raysearch.trainables.task_form import SPLITS
from raysearch.trainables.training import checks
from raysearch.trainables.training.checks import check_schedules, check_settings


class Pairs(nn.Module):
    """Has a bilinear layer, for which torch's autocast has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.both = nn.Embedding(5, 4), nn.Bilinear(4, 4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        y = self.table(ids)
        return self.both(functional.linear(y, torch.eye(4)), y)  # type: ignore[no-any-return]


def tokens() -> Task:
    examples = [(torch.tensor(i), torch.tensor(i % 2)) for i in range(5)]
    return Task(Pairs(), examples, examples, examples)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mixup": 0.2}, "training/mixup is set, but no input is of floats"),
        ({"mixup": tune.uniform(0, 1)}, "training/mixup is set"),
        ({"mixup": tune.choice([0, 0.2])}, "training/mixup is set"),
        ({"precision": "bf16"}, "'bf16', in which the network cannot be trained on the CPU"),
        ({"precision": tune.choice(["float32", "fp16"])}, "'fp16', in which the network cannot be trained"),
    ],
)
def test_what_a_task_cannot_have_is_refused(setting: dict[str, Any], message: str) -> None:
    for settings in ([setting, {}], [{}, setting]):
        with pytest.raises(ValueError, match=message):
            check_settings(tokens(), None, settings, gpu=False)


def test_what_it_can_have_is_not() -> None:
    neither = {"mixup": tune.choice([0.0]), "precision": "float32"}
    check_settings(tokens(), None, [neither, {}], gpu=False)
    check_settings(small_task(), small_plan(), [{"mixup": 1, "precision": tune.choice(["bf16"])}], gpu=False)
    with pytest.raises(ValueError, match="label_smoothing is set, but the task's loss mse_loss"):
        check_settings(small_task(loss=functional.mse_loss), None, [{"label_smoothing": 0.1}], gpu=False)


def test_a_gpu_that_is_elsewhere_is_left_to_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.torch.cuda, "is_available", lambda: False)
    check_settings(tokens(), None, [{"precision": "bf16"}], gpu=True)
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(checks.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(checks, "check_precision", lambda *given: asked.append((given[2], given[3].type)))
    check_settings(tokens(), None, [{"precision": "bf16"}], gpu=True)
    assert asked == [("bf16", "cuda")]


def small_plan() -> Any:
    from raysearch.search_spaces.architectures import decode_architecture

    task = small_task()
    return decode_architecture(task.parent["architecture"])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"pruning": {"steps": tune.randint(1, 7)}}, "pruning/steps may be 6, and a trial of 4 epochs has 4"),
        (
            {"pruning": {"steps": 4}, "bits": {"stem": {}}},
            "has 3 in float: give at most 3 steps, or more epochs",
        ),
        ({"pruning": {"sparsity": {"steps": 9}}}, "pruning/sparsity/steps may be 9"),
        (
            {"training": {"bit_stages": 2}, "bits": {"stem": {}}},
            "bit_stages may be 2, and a trial of 4 epochs",
        ),
    ],
)
def test_a_schedule_longer_than_the_epochs_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        check_schedules(space, 4)


def test_a_schedule_that_fits_is_not():
    space = {"pruning": {"steps": 3}, "bits": {"stem": {}}, "training": {"lr": 0.1}}
    check_schedules(space, 4)
    check_schedules({"training": {"bit_stages": 2, "quantized_share": 0.5}, "bits": {"stem": {}}}, 4)
    check_schedules({}, 1)


def grown(task, architecture=None):
    keys = {"training": {"first_size": 0.5}, **({"architecture": architecture} if architecture else {})}
    return conditions_of(task).bind(keys)


def conditions_of(task):
    return check_conditions(
        task, None, ("onnxruntime-cpu",), epochs=4, seed=0, resources={"cpu": 1, "gpu": 0}, workers=None
    )


def per_pixel(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.mse_loss(outputs, targets)


def test_inputs_that_cannot_grow_are_refused():
    flat = small_task(model=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), parent={})
    with pytest.raises(ValueError, match=r"inputs of shape \(2, 1, 4, 4\), which model and loss do not take"):
        grown(flat)
    rows = TensorDataset(torch.rand(8, 64), torch.zeros(8).long())
    tokens = small_task(model=nn.Linear(64, 10), parent={}, **dict.fromkeys(SPLITS, rows))
    with pytest.raises(ValueError, match="the inputs have no axes behind batch and channels that become"):
        grown(tokens)
    images = TensorDataset(torch.rand(8, 1, 8, 8), torch.rand(8, 1, 8, 8))
    dense = small_task(
        model=nn.Conv2d(1, 1, 3, padding=1),
        parent={},
        loss=per_pixel,
        metrics={"rmse": per_pixel},
        **dict.fromkeys(SPLITS, images),
    )
    with pytest.raises(ValueError, match="first_size leads to inputs"):
        grown(dense)
    with pytest.raises(ValueError, match="there are positions for"):
        grown(tasks.digits(), spaces.vit(patch=(2, 4)))
    assert grown(small_task()).searched == {}
