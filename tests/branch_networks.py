"""Small networks of parts that are pruned one by one, as tasks."""

from __future__ import annotations

import torch
from torch import nn
from trial_setup import small_task

from raysearch.trainables.task import Task


class Branches(nn.Module):
    """Two branches, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(64, 16), nn.Linear(64, 16)
        self.relu = nn.ReLU()
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(x, 1)
        return self.head(self.relu(torch.cat([self.left(x), self.right(x)], 1)))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """A layer with its norm, and one that is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(64, 16), nn.BatchNorm1d(16)
        self.second, self.head = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(torch.flatten(x, 1))))
        return self.head(x + self.second(x))  # type: ignore[no-any-return]


def two_branches() -> Task:
    """Digits for a network of two branches, as a study file imports it."""
    return task_of(Branches())


def task_of(model: nn.Module) -> Task:
    """Digits for a fixed network."""
    return small_task(model=model, parent={"training": {"lr": 3e-3, "batch_size": 64}})
