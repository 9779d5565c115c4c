"""What pruning criteria go by, of a task: its examples, its loss, its network's batch norms."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from raysearch.basics.failures import attempt
from raysearch.search_spaces.pruning.channel_pruning import GRADIENTS, NNI_TRAINED, SEARCHED, check_installed
from raysearch.trainables.data.batches import Examples, first
from raysearch.trainables.pruning.channel_search import searchable
from raysearch.trainables.pruning.criteria import check_batch_norm
from raysearch.trainables.pruning.gradients import loss_gradients
from raysearch.trainables.task import Task

_FEW = 2


def looked_at(task: Task, criterion: str, seed: int) -> Examples | None:
    """The examples that a criterion looks at; None where it looks at none.

    Raises:
        UserError: the criterion cannot look at the task's.
    """
    if criterion in SEARCHED:
        return searchable(task.train, task.collate, seed)
    return task.train if criterion in (*GRADIENTS, *NNI_TRAINED) else None


def check_criterion(task: Task, model: nn.Module, criterion: str) -> None:
    """Refuse a criterion that has nothing to go by.

    Args:
        task: of which it looks at two examples.
        model: of the task; it is left as it is.
        criterion: by name.

    Raises:
        UserError: its extra is missing, it cannot look at the examples, the loss has no gradient, or there is
            no batch norm.
    """
    check_installed([criterion])
    if criterion == "batch_norm_scale":
        check_batch_norm(model)
    few = replace(task, train=first(task.train, _FEW))
    examples = looked_at(few, criterion, seed=0)
    if examples is not None and criterion not in SEARCHED:
        attempt(
            lambda: loss_gradients(model, criterion, examples, task.collate, task.loss),
            f"a gradient of loss, in batches as the pruning criterion {criterion!r} takes,",
        )
