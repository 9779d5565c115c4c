"""What holds for every trial of a run, and what is refused before any."""

from __future__ import annotations

from typing import Any

import pytest
from ray import tune
from torch import Tensor, nn
from trial_setup import PARENT, small_task

from raysearch import search_spaces as spaces
from raysearch.runs.conditions import Conditions, check_conditions
from raysearch.trainables.task import accuracy


def conditions(task: Any = None, parent: Any = None, targets: Any = ("onnxruntime-cpu",)) -> Conditions:
    numbers: dict[str, Any] = {"epochs": 3, "seed": 1, "resources": {"cpu": 1.0}, "workers": None}
    return check_conditions(small_task() if task is None else task, parent, targets, **numbers)


def test_a_parent_s_own_settings_stand_over_the_task_s() -> None:
    found = conditions(parent={"training": {"lr": 0.5}})
    assert found.parent == {"architecture": PARENT["architecture"], "training": {"lr": 0.5}}
    assert found.last_step == 4


def test_only_the_unit_of_our_own_accuracy_is_known() -> None:
    task = small_task(metrics={"rmse": lambda outputs, targets: 0.0, "accuracy": accuracy})
    assert conditions(task).metrics == {"rmse": "", "accuracy": "share"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": 3}, "task is 3: give a raysearch.Task"),
        ({"parent": {"bits": {}}}, "parent has no key 'bits'"),
        ({"parent": {"architecture": {"stem": {}}}}, "parent: architecture/stem has no width"),
        ({"parent": {"training": {"lr": [0.1]}}}, "parent: training/lr is .0.1., not"),
        ({"targets": "torch-cpu"}, "targets is 'torch-cpu': give a list"),
        ({"targets": ()}, "targets is empty"),
        ({"targets": ("torch-cpu", "torch-cpu")}, "targets name torch-cpu twice"),
        ({"targets": ("onnx",)}, "did you mean 'onnxruntime-cpu'"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conditions(**change)


def test_a_space_is_bound_to_the_architecture_or_to_the_one_model() -> None:
    searched = conditions().bind({"architecture": spaces.resnet(stages=1, depth=(1, 2), width=(8, 16))})
    assert not searched.groups
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 10)
    task = small_task(model=nn.Sequential(*layers), parent={})
    fixed = conditions(task).bind({"pruning": spaces.channel_pruning()})
    assert list(fixed.groups) == ["0", "2"]
    with pytest.raises(ValueError, match="the task's model is fixed: leave it out"):
        conditions(task).bind({"architecture": spaces.resnet()})


def test_an_architecture_that_is_given_but_not_searched_is_the_one_model() -> None:
    bits = spaces.bit_widths(weights=(8, 32), activations=(8, 32))
    left_out = conditions().bind({"bits": bits})
    described = {"architecture": PARENT["architecture"], "bits": left_out.domains["bits"]}
    given = conditions().bind(described)
    assert given.layers == left_out.layers
    assert given.domains.keys() == left_out.domains.keys()
    by_stage = conditions().bind({**described, "bits": {"stage1": {"weights": tune.choice([8, 32])}}})
    plan = by_stage.variant({"bits": {"stage1": {"weights": 8}}}).plan
    assert plan.bits.weights["stage1"] == 8


def test_smoothed_labels_are_refused_for_a_loss_that_takes_none() -> None:
    task = small_task(loss=lambda outputs, targets: outputs.sum())
    with pytest.raises(ValueError, match="label_smoothing is set, but the task's loss"):
        conditions(task).bind({"training": {"label_smoothing": 0.1}})


class Doubled(nn.Module):
    """Has a bilinear layer, for which torch's autocast has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.both = nn.Linear(64, 8), nn.Bilinear(8, 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x.flatten(1))
        return self.both(y, y)  # type: ignore[no-any-return]


@pytest.mark.parametrize("precision", ["fp16", tune.choice(["float32", "fp16"])])
def test_half_precision_that_the_device_cannot_do_is_refused(precision: Any) -> None:
    message = "training/precision is 'fp16', in which the network cannot be trained on the CPU"
    with pytest.raises(ValueError, match=message):
        conditions(small_task(model=Doubled(), parent={})).bind({"training": {"precision": precision}})
    conditions().bind({"training": {"precision": precision}})


@pytest.mark.parametrize("where", ["space", "parent"])
def test_learning_rates_of_layers_that_the_model_does_not_have_are_refused(where: str) -> None:
    settings = {"training": {"layer_lr": {"frist": 0.1}}}
    found = conditions(small_task(model=Doubled(), parent=settings if where == "parent" else {}))
    with pytest.raises(ValueError, match=r"training/layer_lr has no key 'frist'; did you mean 'first'\?"):
        found.bind(settings if where == "space" else {})
    with pytest.raises(ValueError, match=r"training/layer_lr has no key 'stage2'; did you mean 'stage1'\?"):
        conditions().bind({"training": {"layer_lr": {"stage2": 0.1}}})
    rates = {"stage1.0": tune.uniform(0.1, 1)}
    assert conditions().bind({"training": {"layer_lr": rates}}).searched


def test_a_family_that_does_not_take_the_tasks_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conv1d takes inputs of shape \(channels, length\)"):
        conditions().bind({"architecture": spaces.conv1d()})
    assert conditions().bind({"architecture": spaces.mlp()}).domains["architecture"]["family"] == "mlp"
