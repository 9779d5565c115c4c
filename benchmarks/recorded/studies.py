"""The two studies whose trials are recorded, and on which searching is compared with working by hand.

digits: that of examples/digits.yaml, without its constraint. cifar10: that of examples/cifar10.yaml at a size
that two cores can train hundreds of times: 16 x 16 pixels, 3,000 of the training images, two blocks a stage.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor
from torch.utils.data import TensorDataset

from benchmarks.common import data_file
from raysearch import search_spaces as spaces
from raysearch import tasks
from raysearch.study import Study
from raysearch.trainables.task import Task

TARGET = "onnxruntime-cpu"
OBJECTIVES = ("maximize accuracy", f"minimize latency_ms/{TARGET}", "minimize size_mb")
#: The epochs of a trial, by study.
EPOCHS = {"digits": 9, "cifar10": 6}
_SHAPES = {"digits": (32, (64, 64, 64)), "cifar10": (16, (16, 32, 64))}
_SETTINGS = {
    "digits": {"batch_size": 64, "weight_decay": 5e-4},
    "cifar10": {"batch_size": 128, "weight_decay": 5e-3},
}
_IMAGES = {"train": 3000, "validation": 1000, "test": 2000}
_SHIFT = 2


def parent_of(name: str) -> dict[str, Any]:
    """The parent of a study."""
    stem, widths = _SHAPES[name]
    stages = {
        f"stage{i + 1}": {"depth": 2, "width": width, "kernel": 3, "block": "basic"}
        for i, width in enumerate(widths)
    }
    architecture = {"family": "resnet", "stages": 3, "stem": {"width": stem}, **stages}
    return {"architecture": architecture, "training": {"lr": 3e-3, **_SETTINGS[name]}}


def space_of(name: str) -> dict[str, Any]:
    """What varies."""
    return {
        "architecture": spaces.resnet(depth=(1, 3), width=(8, 64), block=("basic", "plain")),
        "pruning": spaces.channel_pruning(max_ratio=0.8 if name == "digits" else 0.6),
        "bits": spaces.bit_widths(weights=(4, 8, 32), activations=(8, 32)),
        "teacher": spaces.teachers("parent", None),
        "training": {"lr": tune.loguniform(1e-3, 1e-2), **_SETTINGS[name]},
    }


def study_of(name: str, data: Path | None = None, **method: Any) -> Study:
    """One of the studies, with a searcher, a scheduler and a seed of the caller's.

    Args:
        name: "digits" or "cifar10".
        data: the folder of all tables, or CIFAR-10's archive.
        method: what ``Study`` takes beside.
    """
    task = tasks.digits() if name == "digits" else small_cifar10(data)
    task.source = {"name": "digits"} if name == "digits" else {"import": f"{__name__}:small_cifar10"}
    return Study(
        task,
        space_of(name),
        OBJECTIVES,
        targets=[TARGET],
        parent=parent_of(name),
        epochs=EPOCHS[name],
        **method,
    )


def small_cifar10(data: Path | None = None) -> Task:
    """CIFAR-10 at half the side, with fewer training images."""
    whole = tasks.cifar10(data_file(data, "cifar10/cifar10_subset.npz"))
    splits = {}
    for split, count in _IMAGES.items():
        x, y = (t[:count] for t in getattr(whole, split).tensors)
        splits[split] = TensorDataset(F.avg_pool2d(x, 2), y)
    return replace(whole, **splits, augment=shift_and_flip, name="cifar10_small")


def shift_and_flip(images: Tensor) -> Tensor:
    """Each batch shifted by up to two pixels, and its images mirrored, at random."""
    padded = F.pad(images, [_SHIFT] * 4)
    top, left = torch.randint(2 * _SHIFT + 1, (2,)).tolist()
    side = images.shape[-1]
    moved = padded[..., top : top + side, left : left + side]
    mirrored = torch.rand(len(images)) < 0.5
    return torch.where(mirrored[:, None, None, None], moved.flip(-1), moved)
