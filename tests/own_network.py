"""A network that is not raysearch's own, and an input for it."""

import pytest
import torch
from torch import Tensor, nn


class Small(nn.Module):
    """A user's own model: three convolutions, a skip between two of them, a linear head."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, 24, 3, padding=1)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x) + x)
        return self.head(torch.relu(self.third(x)).mean((2, 3)))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def example() -> Tensor:
    return torch.zeros(2, 3, 8, 8)
