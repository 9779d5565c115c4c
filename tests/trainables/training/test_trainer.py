"""Trials by all settings of training, of networks that are not raysearch's: what counts, and going on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from ray import tune
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from trial_setup import EIGHT_BITS, PARENT, FakeMeasure, make_setup

from raysearch.backends import get
from raysearch.basics.failures import UserError
from raysearch.networks.copying import copy_of
from raysearch.search_spaces.binding import bind
from raysearch.search_spaces.training import TrainingPlan
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.setup import Report, TrialSetup
from raysearch.trainables.stages import TrialStages
from raysearch.trainables.task import Task
from raysearch.trainables.training.distillation import plain_loss
from raysearch.trainables.training.precision import check_precision
from raysearch.trainables.training.trainer import Trainer

CPU = torch.device("cpu")


class Tokens(nn.Module):
    """An LSTM over tokens, which come in a mapping with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm = nn.Embedding(11, 8), nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(12, 3))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        y = self.lstm(self.table(ids))[0] * mask[..., None]
        return self.head(y.sum(1) / mask.sum(1, keepdim=True))  # type: ignore[no-any-return]


class Sequences(nn.Module):
    """A transformer's encoder that gives one number a sequence."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.first = nn.Linear(4, 8)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.first(x)).mean(1)).squeeze(-1)  # type: ignore[no-any-return]


def tokens() -> Task:
    torch.manual_seed(0)
    ids, mask = torch.randint(0, 11, (70, 6)), torch.ones(70, 6)
    examples = [({"ids": i, "mask": m}, i[0] % 3) for i, m in zip(ids, mask, strict=True)]
    return Task(Tokens(), examples, examples[:30], examples[:30])  # type: ignore[arg-type]


def sequences() -> Task:
    torch.manual_seed(0)
    x = torch.randn(70, 5, 4)
    data = TensorDataset(x, x.mean((1, 2)))
    rmse = {"rmse": lambda outputs, targets: (outputs - targets).square().mean().sqrt()}
    return Task(Sequences(), data, data, data, metrics=rmse, loss=functional.mse_loss)


def setup_of(task: Task, folder: Path, layers: tuple[str, ...]) -> TrialSetup:
    bits = {name: {"weights": tune.choice([8, 32]), "activations": 8} for name in layers}
    space = bind({"bits": bits}, model=task.build(), example_input=task.example_input(2))
    space = replace(space, names=tuple({n.partition(".")[0]: 0 for n, _ in task.build().named_parameters()}))
    return TrialSetup(task, space, (get("onnxruntime-cpu"),), 2, folder, references={"parent": {}})


EVERYTHING = {
    "optimizer": "sgd",
    "lr": 0.05,
    "schedule": "onecycle",
    "warmup": 0.3,
    "clip_norm": 1.0,
    "batch_size": 16,
    "accumulate": 2,
    "checkpointing": True,
    "ema": 0.5,
    "layer_lr": {"head": 0.5},
}


def half_precision(task: Task) -> str:
    """bf16, but where the processor has none for the network: an LSTM's wants AVX-512."""
    try:
        check_precision(task, None, "bf16", CPU)
    except UserError:
        return "float32"
    return "bf16"


def reports(run: TrialStages, at_most: int = 99) -> list[Report]:
    found: list[Report] = []
    while len(found) < at_most and (not found or found[-1].step < run.last_step):
        found.append(run.next_report())
    return found


@pytest.mark.parametrize(
    ("make", "layers", "more", "cut"),
    [
        (tokens, ("table", "head.1"), {}, 2),  # after the float epoch
        (sequences, ("first", "head"), {"mixup": 0.4, "optimizer": "adamw"}, 3),  # after the quantised one
    ],
)
def test_other_networks_are_trained_by_every_setting_and_go_on_to_the_bit(
    tmp_path: Path, make: Callable[[], Task], layers: tuple[str, ...], more: dict[str, Any], cut: int
) -> None:
    setup = setup_of(make(), tmp_path, layers)
    bits = {name: {"weights": 8, "activations": 8} for name in layers}
    config = {"bits": bits, "training": {**EVERYTHING, "precision": half_precision(setup.task), **more}}
    whole = TrialStages(setup, "whole", config, FakeMeasure())
    expected = reports(whole)
    assert whole.quantized
    reports(TrialStages(setup, "cut", config, FakeMeasure()), cut)
    again = TrialStages(setup, "cut", config, FakeMeasure())
    assert [r.values for r in reports(again, 3)] == [r.values for r in expected[:3]]
    found, state = again.course.state(), whole.course.state()
    for part in ("module", "average"):
        assert all(torch.equal(found[part][key], value) for key, value in state[part].items())


def test_a_taught_trial_with_mixed_examples_goes_on_to_the_bit(tmp_path: Path) -> None:
    setup = replace(make_setup(tmp_path), parent_epochs=1)
    reports(TrialStages(setup, "parent", PARENT, FakeMeasure()))
    teacher = {"name": "parent", "temperature": 2.0, "weight": 0.5}
    config = {**EIGHT_BITS, "teacher": teacher, "training": {"mixup": 0.4, "precision": "bf16", "ema": 0.9}}
    config["pruning"] = {"ratios": {"stage1": 0.5}}
    expected = reports(TrialStages(setup, "whole", config, FakeMeasure()))
    reports(TrialStages(setup, "cut", config, FakeMeasure()), 2)
    again = reports(TrialStages(setup, "cut", config, FakeMeasure()))
    assert [r.values for r in again] == [r.values for r in expected]


def test_the_average_is_what_is_evaluated_saved_and_quantised(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    setup = replace(setup, references={"parent": {**PARENT, "training": {"ema": 0.9}}}, parent_epochs=2)
    run = TrialStages(setup, "parent", setup.references["parent"], FakeMeasure())
    _, first, *_ = reports(run)
    trained, average = run.course.trainer.module.state_dict(), run.module.state_dict()
    assert not torch.equal(trained["head.weight"], average["head.weight"])
    saved = load_file(setup.reference_weights("parent"))
    assert all(torch.equal(saved[key], value) for key, value in average.items())
    setup = replace(setup, folder=tmp_path / "other", parent_epochs=None)
    config = {**EIGHT_BITS, "training": {"ema": 0.99}}
    run = TrialStages(setup, "trial", config, FakeMeasure())
    _, first = reports(run, 2)
    task = setup.task
    assert first.values == evaluate(run.module, task.validation, task.metrics)
    assert first.values != evaluate(run.course.trainer.module, task.validation, task.metrics)
    before = run.module.state_dict()["head.weight"].clone()
    run.course.begin(run.float_epochs + 1)
    for network in (run.module, run.course.trainer.module):
        assert torch.equal(network.state_dict()["head.weight"], before)


def trainer(plan: TrainingPlan, network: nn.Module) -> Trainer:
    return Trainer(copy_of(network), plan, CPU)


def trained(plan: TrainingPlan, task: Task, start: nn.Module, epochs: int = 2) -> Trainer:
    found = trainer(plan, start)
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        found.epoch(task, plain_loss(task.loss, found._forward), lambda share: plan.lr, epoch)
    return found


def test_computing_activations_again_trains_the_same_to_the_bit() -> None:
    images = zoo.IMAGES(40)
    data = TensorDataset(images, torch.arange(40) % 4)
    task = Task(zoo.resnet(), data, data, data)
    found = [trained(TrainingPlan(batch_size=16, checkpointing=c), task, task.model) for c in (False, True)]  # type: ignore[arg-type]
    one, other = (f.result.state_dict() for f in found)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert one["0.1.num_batches_tracked"] == 6


def test_float16_goes_on_with_its_scale() -> None:
    task = sequences()
    plan = TrainingPlan(precision="fp16", batch_size=16)
    start = task.build()
    expected = trained(plan, task, start)
    assert expected._scaler is not None
    expected._scaler.update(8.0)
    again = trainer(plan, start)
    again.load(copy.deepcopy(expected.state()))
    assert again.state()["scaler"] == expected.state()["scaler"]
    assert again._scaler is not None
    assert again._scaler.get_scale() == 8
    for each in (expected, again):
        torch.manual_seed(0)
        each.epoch(task, plain_loss(task.loss, each._forward), lambda share: 1e-3, 0)
    one, other = (each.result.state_dict() for each in (expected, again))
    assert all(torch.equal(one[key], other[key]) for key in one)
