"""Which of a task's targets is the index of each example's class: by it is set how sure an exit must be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raysearch.basics.failures import UserError
from raysearch.networks.nests import batch_size, names, tensors
from raysearch.trainables.data.batches import Batch


def labels_of(batches: Sequence[Batch]) -> Tensor:
    """The class indices of all examples, int64 (n,): the one tensor among the targets that may be these.

    Args:
        batches: of inputs, or outputs, and targets; at least one.

    Raises:
        UserError: none may be, or several, of which nobody can say which it is.
    """
    sizes = [batch_size(inputs) for inputs, _ in batches]
    columns = zip(*(tensors(targets) for _, targets in batches), strict=True)
    found = {
        name: torch.cat(column)
        for name, column in zip(names(batches[0][1], "targets"), columns, strict=True)
        if all(t.dtype is torch.int64 and t.shape == (n,) for t, n in zip(column, sizes, strict=True))
    }
    if not found:
        raise UserError(
            "architecture/exits: the task's targets hold no class index (int64) for each example, and an "
            "input leaves by how sure of its class the exit is: leave the exits out"
        )
    if len(found) > 1:
        which = " and ".join(map(repr, found))
        raise UserError(
            f"architecture/exits: the task's targets {which} are all int64, one for each example, and one "
            "alone can be the class index by which inputs leave: give the others another type, such as int32"
        )
    return found.popitem()[1]
