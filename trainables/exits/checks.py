"""Whether a study can have networks that inputs may leave early, before any work."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from raysearch.backends.base import Backend, runs_branches
from raysearch.basics.failures import UserError
from raysearch.networks.exits import Exits
from raysearch.networks.nests import Nest
from raysearch.search_spaces.architectures import Architecture
from raysearch.trainables.data.checks import check_labels
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.exits.labels import labels_of
from raysearch.trainables.task import Task


def check_exits(task: Task, targets: Sequence[Backend]) -> None:
    """Refuse targets that cannot run such a network, and tasks in which nothing says how sure it is.

    Raises:
        UserError: a target runs no branches or is measured with several inputs at a time, or it is not clear
            which of the task's targets is the index of each example's class.
    """
    for target in targets:
        if not runs_branches(target):
            raise UserError(
                f"architecture/exits: target {target.name} runs no branches, as a network with an early exit "
                "has one: leave the exits out, or search for onnxruntime-cpu or openvino-cpu"
            )
        if target.batch != 1:
            raise UserError(
                f"architecture/exits: target {target.name} has batch {target.batch}, all of which would "
                "have to leave together: leave the batch or the exits out"
            )
    labels_of([task.example(2)])


def refuse_exits(outputs: Nest) -> None:
    """Refuse a parent that inputs may leave early: what others are compared with is run to its end.

    Args:
        outputs: of the parent.

    Raises:
        UserError: it may be.
    """
    if isinstance(outputs, Exits):
        raise UserError(
            "the parent's network has an early exit, and what all variants are compared with is run to its "
            "end: give the parent none"
        )


def check_parent(task: Task, plan: Architecture) -> None:
    """Refuse a parent that inputs may leave early, or that says of no class how sure it is.

    Raises:
        UserError: it may be, its outputs are no logits of classes, or the targets are no indices of these.
    """
    outputs = outputs_of(task.build(plan), task.example_input(2))
    refuse_exits(outputs)
    if not (isinstance(outputs, Tensor) and outputs.dim() == 2 and outputs.is_floating_point()):
        raise UserError(
            "architecture/exits: the network's outputs are no logits of shape (n, classes), and an input "
            "leaves by how sure of its class the exit is: leave the exits out"
        )
    check_labels(task.validation, task.collate, "validation", outputs.shape[1], of=lambda b: labels_of([b]))
