"""Pruned networks as the work of a run."""

from __future__ import annotations

import pytest
from branch_networks import Branches, task_of

from raysearch.objectives import Objective
from raysearch.runs.conditions import check_conditions
from raysearch.schedulers.full_training import FullTraining
from raysearch.sweeps.points import Points, points_of


@pytest.fixture(scope="module")
def points() -> Points:
    resources = {"cpu": 1.0, "gpu": 0.0}
    conditions = check_conditions(
        task_of(Branches()), None, ["onnxruntime-cpu"], epochs=4, seed=2, resources=resources, workers=1
    )
    ratios = [{"left": 0.0, "right": 0.5}, {"left": 0.25, "right": 0.0}, {"left": 0.26, "right": 0.0}]
    return points_of(conditions, Objective.parse("maximize accuracy"), ratios, 4)


def test_networks_of_equal_channels_are_one(points: Points) -> None:
    assert [c["pruning"]["ratios"] for c in points.configs] == [
        {"left": 0.0, "right": 0.5},
        {"left": 0.25, "right": 0.0},
    ]
    assert len({points.space.variant(c).key for c in points.configs}) == 2


def test_the_work_is_to_train_each_in_full_after_the_parent(points: Points) -> None:
    work = points.work
    assert dict(work.references) == {"parent": points.conditions.parent}
    searcher = work.searcher(work.goals)
    asked = [searcher.ask(str(i)) for i in range(3)]
    assert asked == [*points.configs, None]
    assert isinstance(work.scheduler(work.goals), FullTraining)
    assert work.origin("any key") == "given"
    assert (work.goals.last_step, work.goals.constraints) == (5, ())


def test_it_is_described_as_a_study_that_evaluates_the_points_first(points: Points) -> None:
    described = points.work.described
    assert described["search"] == {
        "epochs": 4,
        "searcher": "random",
        "scheduler": "full_training",
        "evaluate_first": points.configs,
        "grace": 1,
        "seed": 2,
        "resources": {"cpu": 1.0, "gpu": 0.0},
        "workers": 1,
    }
    assert described["objectives"] == [
        "maximize accuracy",
        "minimize size_mb",
        "minimize latency_ms/onnxruntime-cpu",
    ]
    assert "sweep" not in described
