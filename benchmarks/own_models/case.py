"""A task as a user writes it, and what is needed to check by other means what a search says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from raysearch import Task

Array = NDArray[Any]
Outputs = Mapping[str, Array]
SIZES = {"train": 128, "validation": 48, "test": 48}


@dataclass(frozen=True)
class Case:
    """A task and what is asked of it.

    Args:
        task: as a user writes it.
        objective: on its first metric.
        metric: the same metric again, by numpy alone: of the file's outputs by name, each (n, ...), and
            of the targets as they collate.
        prunes: whether any layer can lose channels.
        teacher: whether trials may learn from the parent.
    """

    task: Task
    objective: str
    metric: Callable[[Outputs, Any], float]
    prunes: bool = True
    teacher: bool = False


def splits(make: Callable[[int], tuple[Tensor, ...]]) -> dict[str, TensorDataset]:
    """Three splits of what a function makes so many examples of."""
    return {name: TensorDataset(*make(n)) for name, n in SIZES.items()}


def tinted(n: int, *shape: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Noise (n, *shape) to whose channels each class adds a tint of its own, and the classes (n,)."""
    labels = torch.arange(n) % classes
    tints = 1.5 * torch.randn(classes, shape[0], generator=torch.Generator().manual_seed(1))
    return torch.randn(n, *shape) + tints[labels].view(n, shape[0], *[1] * (len(shape) - 1)), labels


def only(outputs: Outputs) -> Array:
    """The output of a file that has one."""
    (output,) = outputs.values()
    return output


def accuracy(outputs: Outputs, labels: Array) -> float:
    """The share of right classes."""
    return float(np.mean(only(outputs).argmax(1) == labels))


def rmse(outputs: Outputs, targets: Array) -> float:
    """The root of the mean squared error."""
    return float(np.sqrt(np.mean((only(outputs).astype(np.float64) - targets) ** 2)))
