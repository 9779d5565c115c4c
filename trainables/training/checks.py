"""Whether a task can be trained by the settings that a study may choose, before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from raysearch.basics.failures import UserError
from raysearch.search_spaces import domains
from raysearch.search_spaces.architectures import Architecture
from raysearch.search_spaces.space import Space
from raysearch.search_spaces.training import TrainingPlan
from raysearch.trainables.task import Task
from raysearch.trainables.task_form import check_label_smoothing
from raysearch.trainables.training.mixup import check_mixable
from raysearch.trainables.training.precision import check_precision
from raysearch.trainables.training.resizing import check_resizable, size_at


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


def check_sizes(task: Task, space: Space, parent: Mapping[str, Any], epochs: int) -> None:
    """Refuse inputs that grow where some network of the space, or the loss, takes one size alone.

    The parent's is tried, and those at the ends of the architecture space, in every size that there may be.

    Raises:
        ValueError: in one sentence.
    """
    training = space.domains.get("training", {})
    firsts = [first for first in _possible([training], "first_size") if first < 1]
    quantized = [0, *_quantized(training, epochs)] if "bits" in space.domains else [0]
    in_float = {max(1, epochs - count) for count in quantized}
    shares = {size_at(f, epoch, count) for f in firsts for count in in_float for epoch in range(1, count + 1)}
    shares -= {1.0}
    if not shares:
        return
    searched = {path: v for path, v in space.searched.items() if path[0] == "architecture"}
    middle = {path: values.middle() for path, values in searched.items()}
    ends = [domains.nested({**middle, path: end}) for path, v in searched.items() for end in v.ends()]
    plans = [space.variant(config).plan.architecture for config in (parent, *ends)]
    for plan in plans:
        for share in sorted(shares):
            check_resizable(task, plan, share)


def check_schedules(space: Mapping[str, Any], epochs: int) -> None:
    """Refuse what takes more epochs than a trial has.

    Args:
        space: nested Tune domains and constants.
        epochs: of a trial.

    Raises:
        ValueError: more steps of pruning than epochs in float, or two stages of bits in one quantised epoch.
    """
    training, pruning = space.get("training", {}), space.get("pruning", {})
    quantized = _quantized(training, epochs) if "bits" in space else [0]
    in_float = max(0, epochs - max(quantized))
    for where, section in {"pruning": pruning, "pruning/sparsity": pruning.get("sparsity", {})}.items():
        steps = max(_possible([section], "steps"), default=1)
        if steps > 1 and steps > in_float:
            raise UserError(
                f"{where}/steps may be {steps}, and a trial of {epochs} epochs has {in_float} in float: give "
                f"at most {max(in_float, 1)} steps, or more epochs"
            )
    if 2 in _possible([training], "bit_stages") and "bits" in space and min(quantized) < 2:
        raise UserError(
            f"training/bit_stages may be 2, and a trial of {epochs} epochs has {min(quantized)} quantised: "
            "give more epochs or a larger training/quantized_share"
        )


def _quantized(training: Mapping[str, Any], epochs: int) -> list[int]:
    """How many epochs of a trial may be quantised."""
    shares = _possible([{"quantized_share": TrainingPlan().quantized_share, **training}], "quantized_share")
    return [max(1, round(epochs * share)) for share in shares]


def _possible(settings: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    """The values that a setting may have, of a range its ends."""
    found: list[Any] = []
    for given in settings:
        leaf = {key: given[key]} if key in given else {}
        ends = [end for values in domains.read(leaf).values() for end in values.ends()]
        found += ends or domains.constants(leaf).values()
    return list(dict.fromkeys(found))
