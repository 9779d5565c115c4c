"""Criteria that have nothing to go by, on a task."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from trial_setup import small_task

from raysearch import Study
from raysearch import search_spaces as spaces
from raysearch.search_spaces.pruning.channel_pruning import CRITERIA, PruningPlan
from raysearch.trainables.pruning import prune
from raysearch.trainables.pruning.evidence import check_criterion
from raysearch.trainables.task import Task


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def test_every_criterion_suits_a_plain_task() -> None:
    task = small_task()
    model = task.build(None)
    for criterion in CRITERIA:
        check_criterion(task, model, criterion)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    check_criterion(task, model, "taylor")  # a frozen network has gradients all the same


def test_a_criterion_without_what_it_goes_by_is_refused() -> None:
    task = small_task(model=plain())
    with pytest.raises(ValueError, match="'batch_norm_scale' reads the scales of batch norms, and the model"):
        check_criterion(task, task.build(None), "batch_norm_scale")
    pairs = TensorDataset(*task.train.tensors, task.train.tensors[1])
    several = Task(plain(), pairs, pairs, pairs, loss=lambda y, _: y.mean(), metrics={"m": lambda y, _: 0.0})
    with pytest.raises(ValueError, match="the task has several: choose magnitude or random"):
        check_criterion(several, plain(), "annealing")


def test_a_loss_that_takes_no_single_example_is_one_sentence() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(outputs) == 1:
            raise ZeroDivisionError("no spread")
        return outputs.std()

    task = small_task(model=plain(), loss=loss)
    check_criterion(task, plain(), "taylor")
    with pytest.raises(ValueError, match=r"as the pruning criterion 'hessian' takes, fails: .*no spread"):
        check_criterion(task, plain(), "hessian")


def test_each_criterion_of_a_space_is_checked_before_any_work() -> None:
    task = small_task(model=plain(), parent={"training": {"lr": 3e-3, "batch_size": 64}})
    for criteria in (("magnitude", "batch_norm_scale"), "batch_norm_scale"):
        space = {"pruning": spaces.channel_pruning(max_ratio=0.5, criterion=criteria)}
        with pytest.raises(ValueError, match=r"and the model .* has none: choose magnitude or taylor"):
            Study(task, space, ["maximize accuracy", "minimize size_mb"])


def test_those_for_weights_are_checked_too() -> None:
    task = small_task(model=plain(), parent={}, loss=lambda outputs, targets: outputs.detach().mean())
    space = {"pruning": spaces.weight_sparsity(criterion=("magnitude", "taylor"))}
    with pytest.raises(ValueError, match="the loss depends on none of the model's weights"):
        Study(task, space, ["maximize accuracy", "minimize size_mb"])


def test_without_batch_norm_magnitude_decides() -> None:
    example = torch.zeros(2, 1, 8, 8)
    networks = [plain() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    criteria = ("batch_norm_scale", "magnitude")
    plans = [PruningPlan({"1": 0.5}, criterion, 1) for criterion in criteria]
    histories = [prune(n, example, plan) for n, plan in zip(networks, plans, strict=True)]
    assert histories[0] == histories[1] != []
