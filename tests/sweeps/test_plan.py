"""Which points a sweep has, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from branch_networks import Branches, task_of
from sweep_events import RATIOS
from torch import nn

from raysearch import Study
from raysearch import search_spaces as spaces
from raysearch.study_file.build import build_task
from raysearch.study_file.schema import parse
from raysearch.sweeps.plan import plan_sweep


@pytest.fixture(scope="module")
def study() -> Study:
    task = build_task({"import": "branch_networks:two_branches"})
    space = {"pruning": spaces.channel_pruning(multiple=4)}
    return Study(task, space, ["maximize accuracy", "minimize size_mb"], epochs=1, workers=1)


def test_points_are_one_part_at_a_time_and_once_each(study: Study) -> None:
    plan = plan_sweep(study.conditions, ["left", "right"], [0.25, 0.26, 0.5, 0.75], multiple=4)
    ratios = [config["pruning"]["ratios"] for config in plan.points.configs]
    assert ratios == [  # 0.25 and 0.26 keep the same 12 of 16 channels
        {"left": 0.0, "right": 0.0},
        {"left": 0.25, "right": 0.0},
        {"left": 0.5, "right": 0.0},
        {"left": 0.75, "right": 0.0},
        {"left": 0.0, "right": 0.25},
        {"left": 0.0, "right": 0.5},
        {"left": 0.0, "right": 0.75},
        {"left": 0.25, "right": 0.25},
        {"left": 0.5, "right": 0.5},
        {"left": 0.75, "right": 0.75},
    ]
    described = plan.work.described
    assert described["search"]["scheduler"] == "full_training"
    assert described["sweep"] == {
        "parts": ["left", "right"],
        "ratios": [0.25, 0.26, 0.5, 0.75],
        "multiple": 4,
    }
    assert parse(described).sweep.parts == ["left", "right"]  # a study file again
    assert "sweep" not in study.describe()


@pytest.mark.parametrize(
    ("parts", "ratios", "message"),
    [
        (["lefft"], RATIOS, "names 'lefft', which the model does not have; did you mean 'left'"),
        (["relu"], RATIOS, "names 'relu', a ReLU without weights"),
        (["head"], RATIOS, "names 'head', a Linear .* that can go: they reach the network's output"),
        (["left", "left.0"], RATIOS, "names 'left.0', which lies inside 'left': name only one"),
        ([], RATIOS, "give a list with at least one layer's name"),
        (["left"], [0.5, 1.0], "give one or more numbers in"),
        (["left"], [], "give one or more numbers in"),
        (
            ["left"],
            [0.25, 0.5],
            r"sweep.ratios is \[0.25, 0.5\], 3 different ratios with 0, .* curve needs 4",
        ),
        (["left"], [0.5, 0.5, 0, 0.75], "3 different ratios with 0"),
        (["left"], RATIOS, r"multiples of 8 \(sweep.multiple\), .* curve needs 4: left has 2"),
    ],
)
def test_what_cannot_be_swept_is_refused(study: Study, parts: Any, ratios: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_sweep(study.conditions, parts, ratios)


def test_a_part_of_too_few_channels_for_a_curve_is_warned_of(study: Study) -> None:
    model = Branches()
    model.left, model.head = nn.Linear(64, 8), nn.Linear(24, 10)
    uneven = Study(task_of(model), {"pruning": spaces.channel_pruning()}, ["maximize accuracy"])
    with pytest.warns(UserWarning, match="a curve needs 4: left has 2$"):
        plan = plan_sweep(uneven.conditions, ratios=RATIOS, multiple=4)
    own = {"parts": ["left", "right"], "ratios": list(RATIOS), "multiple": 4}
    assert plan.work.described["sweep"] == own
