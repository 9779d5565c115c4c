"""Which parts may be swept, and why others may not."""

from __future__ import annotations

import pytest
from branch_networks import Branches, Residual, task_of
from torch import nn

from raysearch.runs.conditions import Conditions, check_conditions
from raysearch.sweeps.parts import prunable_parts


def conditions(model: nn.Module) -> Conditions:
    resources = {"cpu": 1.0, "gpu": 0.0}
    task = task_of(model)
    return check_conditions(task, None, ["onnxruntime-cpu"], epochs=1, seed=0, resources=resources, workers=1)


def test_left_out_every_group_that_can_be_pruned_is_a_part() -> None:
    assert prunable_parts(conditions(Branches()), None) == ["left", "right"]


def test_names_stay_in_their_order_and_once_each() -> None:
    assert prunable_parts(conditions(Branches()), ["right", "left", "right"]) == ["right", "left"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["lefft"], "names 'lefft', which the model does not have; did you mean 'left'"),
        (["relu"], "names 'relu', a ReLU without weights: name layers such as 'left'"),
        (["head"], "names 'head', a Linear .* that can go: they reach the network's output"),
        (["left", "left.0"], "names 'left.0', which lies inside 'left': name only one"),
        ("left", "sweep.parts is 'left': give a list"),
    ],
)
def test_why_a_part_cannot_be_swept(parts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prunable_parts(conditions(Branches()), parts)


@pytest.mark.parametrize(("part", "leader"), [("norm", "first"), ("second", "first")])
def test_a_part_that_follows_another_is_told_which(part: str, leader: str) -> None:
    with pytest.raises(ValueError, match=f"names '{part}', .* they go with those of '{leader}'"):
        prunable_parts(conditions(Residual()), [part])
