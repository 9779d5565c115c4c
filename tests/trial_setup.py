"""Trials of a small network on a few digits, without Ray: what the tests of stages and finalists share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import TensorDataset

from raysearch import search_spaces as spaces
from raysearch import tasks
from raysearch.backends import get
from raysearch.backends.base import Backend
from raysearch.search_spaces.binding import bind
from raysearch.trainables.setup import TrialSetup
from raysearch.trainables.task import Task

STAGE = {"depth": 1, "width": 8, "kernel": 3, "block": "basic"}
PARENT = {
    "architecture": {"family": "resnet", "stages": 1, "stem": {"width": 8}, "stage1": STAGE},
    "training": {"lr": 3e-3, "batch_size": 64},
}
ALL8 = {
    "stem": {"weights": 8, "activations": 8},
    "stage1": {"own": True, "weights": 8, "activations": 8},
    "head": {"own": True, "weights": 8, "activations": 8},
}
EIGHT_BITS = {**PARENT, "bits": ALL8}


def small_task(**changes: Any) -> Task:
    """Digits with few examples."""
    digits = tasks.digits()
    splits = {
        name: TensorDataset(*(t[:count] for t in getattr(digits, name).tensors))
        for name, count in {"train": 320, "validation": 100, "test": 100}.items()
    }
    return replace(digits, **{**splits, "parent": PARENT, **changes})


def make_setup(
    folder: Path,
    task: Task | None = None,
    *,
    epochs: int = 2,
    targets: tuple[str, ...] = ("onnxruntime-cpu",),
) -> TrialSetup:
    """A setup over widths, pruning, bits, a teacher and training settings."""
    space = bind(
        {
            "architecture": spaces.resnet(stages=1, depth=(1, 2), width=(8, 16)),
            "pruning": spaces.channel_pruning(max_ratio=0.5, multiple=4),
            "bits": spaces.bit_widths(weights=(2, 8, 32), activations=(8, 32)),
            "teacher": spaces.teachers("parent", None),
        },
        parent=PARENT,
    )
    task = task or small_task()
    known = tuple(map(get, targets))
    return TrialSetup(task, space, known, epochs, folder, references={"parent": PARENT})


class FakeMeasure:
    """Runs each model once and gives a latency that depends on the file alone; counts its calls."""

    def __init__(self) -> None:
        self.calls: list[Mapping[str, Any]] = []

    def __call__(
        self,
        target: Backend,
        path: Path,
        example: Any,
        *,
        reference: bool = False,
        again: bool = False,
        description: Any = None,
    ) -> dict[str, Any]:
        target.load(path)(example)
        self.calls.append({"target": target.name, "reference": reference, "again": again})
        return {"target": target.name, "latency_ms": path.stat().st_size / 1e5}
