"""What a Study refuses, and a user's own model from Python to the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pandas as pd
import pytest
import torch
from ray import tune
from torch import nn
from torch.nn import functional
from trial_setup import small_task

from raysearch import Study, backends, load_variant
from raysearch import search_spaces as spaces

SPACE = {"training": {"lr": tune.loguniform(1e-4, 1e-2)}}
OBJECTIVES = ["maximize accuracy", "minimize size_mb"]


class Own(nn.Module):
    """A user's model."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = torch.max_pool2d(torch.relu(x + self.second(x)), 2)
        return self.head(torch.flatten(x, 1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": 3}, "task is 3: give a raysearch.Task"),
        ({"epochs": "two"}, "epochs is 'two': give a whole number"),
        ({"epochs": 0}, "epochs is 0: give at least 1"),
        ({"grace": 10}, "grace is 10, and a trial has 9 epochs"),
        ({"seed": -1}, "seed is -1: give at least 0"),
        ({"workers": 0}, "workers is 0: give at least 1"),
        ({"searcher": "nsga"}, "searcher is 'nsga'; did you mean 'nsga2'"),
        (
            {"searcher": {"name": "nsga2", "populatio": 4}},
            "has no option 'populatio'; did you mean 'population'",
        ),
        ({"searcher": {"name": "nsga2", "population": 1}}, "population is 1: breeding needs at least 2"),
        ({"scheduler": "asha"}, "scheduler is 'asha'; known: "),
        ({"evaluate_first": [{"training": {"lr": 99.0}}]}, "training/lr is 99.0"),
        ({"evaluate_first": [{"trainin": {"lr": 99.0}}]}, "did you mean 'training'"),
        ({"warm_start": ["nowhere"]}, "nowhere"),
        ({"resources": {"cpus": 2}}, "resources has an unknown key 'cpus'; did you mean 'cpu'"),
        ({"resources": {"cpu": 0}}, "resources.cpu is 0: give more than 0"),
        ({"objectives": "maximize accuracy"}, "objectives is 'maximize accuracy': give a list"),
        ({"objectives": ["maximize acc"]}, "did you mean 'accuracy'"),
        ({"constraints": ["energy >= 3"]}, "nothing reports"),
        (
            {"targets": ["torch-aoti-cpu"], "objectives": ["minimize latency_ms/torch-aoti-cpu"]},
            "torch-aoti-cpu compiles a model for so long that it is measured on finalists only: search",
        ),
        (
            {"constraints": ["energy_mj/onnxruntime-cpu <= 3"]},
            "give the target one, as in {runtime: onnxruntime-cpu, meter: rapl}",
        ),
        (
            {"targets": [{"runtime": "onnxruntime-cpu", "meter": ["no-such-meter"]}]},
            "target onnxruntime-cpu is not available: the meter no-such-meter cannot be run: No such file",
        ),
        ({"targets": "onnxruntime-cpu"}, "targets is 'onnxruntime-cpu': give a list"),
        ({"targets": []}, "targets is empty"),
        ({"targets": ["onnxruntime-cpu"] * 2}, "targets name onnxruntime-cpu twice"),
        ({"targets": ["onnx"]}, "did you mean 'onnxruntime-cpu'"),
        ({"space": 3}, "space is 3, not a mapping"),
        ({"space": {"trainin": {}}}, "did you mean 'training'"),
        ({"space": {"training": {"lr": tune.uniform(1, 0.1)}}}, "training/lr goes from 1 to 0.1"),
        ({"parent": {"bits": {}}}, "parent has no key 'bits'"),
        ({"parent": {"training": {"lr": "x"}}}, "training/lr is 'x', not a number"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(arguments: dict[str, Any], message: str) -> None:
    given = {"task": small_task(), "space": SPACE, "objectives": OBJECTIVES, **arguments}
    with pytest.raises((ValueError, OSError)) as caught:
        Study(**given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"num_trials": 0}, {"num_trials": "3"}, {"max_minutes": 0}])
def test_a_run_refuses_its_arguments_too(arguments: dict[str, Any], tmp_path: Path) -> None:
    study = Study(small_task(), SPACE, OBJECTIVES)
    with pytest.raises(ValueError, match=next(iter(arguments))):
        study.run(**arguments, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_target_without_its_runtime_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    home = type(backends.get("torch-cpu"))
    monkeypatch.setattr(home, "unavailable", lambda self: "it is not installed: pip install it")
    with pytest.raises(ValueError, match=r"target torch-cpu is not available: .*pip install it"):
        Study(small_task(), SPACE, OBJECTIVES, targets=["torch-cpu"])


@pytest.mark.slow
@pytest.mark.cluster
def test_a_users_own_model_is_compressed_and_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the workers
    torch.manual_seed(0)
    model = Own()
    study = Study(
        small_task(model=model, parent={}, name="own"),
        {
            "pruning": spaces.channel_pruning(max_ratio=0.5, multiple=2),
            "bits": spaces.bit_widths(weights=(4, 8), activations=(8,)),
        },
        OBJECTIVES,
        parent={"epochs": 1},
        epochs=1,
        screen=1,
        workers=1,
    )
    result = study.run(2, folder=tmp_path / "run", progress=False)
    trials = pd.read_csv(tmp_path / "run" / "trials.csv", dtype={"trial": str}).set_index("trial")
    finished = trials[(trials.role == "trial") & (trials.outcome == "finished")]
    assert result.complete
    assert len(finished)
    for name in finished.index:
        folder = tmp_path / "run" / "variants" / name
        x = torch.stack([study.task.test[i][0] for i in range(20)])
        rebuilt = load_variant(folder, model=model)(x).argmax(1).numpy()
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert (rebuilt == logits.argmax(1)).mean() >= 0.9


@pytest.mark.parametrize("where", ["space", "parent"])
def test_smoothed_labels_need_a_loss_that_takes_them(where: str) -> None:
    training = {**(SPACE["training"] if where == "space" else {}), "label_smoothing": 0.1}
    arguments: Any = {"space": SPACE, "objectives": OBJECTIVES, where: {"training": training}}
    Study(small_task(loss=functional.cross_entropy), **arguments)
    with pytest.raises(ValueError, match="label_smoothing is set, but the task's loss mse_loss has no"):
        Study(small_task(loss=functional.mse_loss), **arguments)


def test_what_is_given_comes_first() -> None:
    study = Study(small_task(), SPACE, OBJECTIVES, evaluate_first=[{"training": {"lr": 5e-3}}])
    searcher = study.make_searcher(study.goals)
    first, second = searcher.ask("0"), searcher.ask("1")
    assert first == {"training": {"lr": 5e-3}}
    assert study.origins.get(study.space.variant(first).key) == "given"
    assert study.origins.get(study.space.variant(second or {}).key) is None
