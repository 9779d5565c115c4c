"""Whether a task can be trained by the settings that a study may choose, before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from raysearch.search_spaces import domains
from raysearch.search_spaces.architectures import Architecture
from raysearch.trainables.task import Task
from raysearch.trainables.task_form import check_label_smoothing
from raysearch.trainables.training.mixup import check_mixable
from raysearch.trainables.training.precision import check_precision


def check_settings(
    task: Task, plan: Architecture | None, settings: Iterable[Mapping[str, Any]], *, gpu: bool
) -> None:
    """Refuse settings of training that the task, or the device, cannot have.

    Args:
        task: is left as it is.
        plan: of the parent's architecture, where the model is made from one.
        settings: of training, each with values that are legal; constants or Tune's domains.
        gpu: whether trials train on a GPU. One that is not on this machine is left to the trials.

    Raises:
        ValueError: labels are smoothed for a loss that cannot, inputs are mixed of which none is of floats,
            or the network cannot be trained in a precision.
    """
    settings = list(settings)
    check_label_smoothing(task, settings)
    if any(_possible(settings, "mixup")):
        check_mixable(task.example_input())
    if gpu and not torch.cuda.is_available():
        return
    for precision in _possible(settings, "precision"):
        check_precision(task, plan, precision, torch.device("cuda" if gpu else "cpu"))


def _possible(settings: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    """The values that a setting may have, of a range its ends."""
    found: list[Any] = []
    for given in settings:
        leaf = {key: given[key]} if key in given else {}
        ends = [end for values in domains.read(leaf).values() for end in values.ends()]
        found += ends or domains.constants(leaf).values()
    return list(dict.fromkeys(found))
