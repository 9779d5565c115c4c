"""A network that is not raysearch's own, and which inputs may leave early."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import raysearch as rs


class Exiting(nn.Module):
    """Two convolutions with a skip and an exit, then a third, which reads what the exit reads.

    Args:
        exits: whether there is the exit; without it the end alone is given.
        classes: how many logits.
    """

    def __init__(self, exits: bool = True, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.third = nn.Conv2d(16, 24, 3, padding=1, stride=2)
        self.head = nn.Linear(24, classes)
        self.side = nn.Linear(16, classes) if exits else None

    def forward(self, x: Tensor) -> Tensor | rs.Exits:
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x) + x)
        last = self.head(torch.relu(self.third(x)).mean((2, 3)))
        return last if self.side is None else rs.Exits(self.side(x.mean((2, 3))), last)


def build(architecture: dict[str, bool]) -> nn.Module:
    """The function that a task has for its model."""
    return Exiting(architecture["exits"])
