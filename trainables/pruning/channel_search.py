"""Channels to keep, found by local search: pruning criteria beside those that rank channels one by one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from raysearch.basics.failures import UserError
from raysearch.trainables.data.batches import Collate, Examples, batches
from raysearch.trainables.masks.annealing import Annealing
from raysearch.trainables.masks.genetic import Genetic
from raysearch.trainables.masks.mask_loss import Loss
from raysearch.trainables.masks.mask_search import EXAMPLES, Method, search_masks

METHODS: dict[str, Method] = {"annealing": Annealing(), "genetic": Genetic()}
EVALUATIONS, SIZE = 200, 256


def searchable(examples: Examples, collate: Collate | None, seed: int) -> TensorDataset:
    """Examples as a search looks at them: held as tensors, drawn at random where there are many.

    Raises:
        UserError: inputs or targets are more than one tensor.
    """
    if type(examples) is TensorDataset and len(examples.tensors) == 2 and collate is None:
        return examples
    inputs, targets = next(batches(examples, EXAMPLES, torch.Generator().manual_seed(seed), collate))
    if not (isinstance(inputs, Tensor) and isinstance(targets, Tensor)):
        raise UserError(
            "the criteria annealing and genetic search on inputs and targets of one tensor each, and the "
            "task has several: choose magnitude or random"
        )
    return TensorDataset(inputs, targets)


def search_channels(
    model: nn.Module, shares: Mapping[str, float], criterion: str, examples: Examples, loss: Loss
) -> dict[str, Tensor]:
    """Which channels of some dependency groups to keep, so that the loss rises least.

    The search starts from the channels with the largest norm, and is seeded by torch's generator. It takes
    about as long as half an epoch on 50,000 examples.

    Args:
        model: unpruned; it is not changed.
        shares: of the channels to drop, by root layer, in [0, 1).
        criterion: "annealing" or "genetic".
        examples: for training.
        loss: of logits and labels.

    Returns:
        By root layer, True for the channels to keep, (channels,), or where the group has grouped convolutions
        those of one of their blocks.
    """
    wanted = {root: share for root, share in shares.items() if share > 0}
    if not wanted:
        return {}
    found = search_masks(
        model,
        examples,
        wanted,
        channels=True,
        method=METHODS[criterion],
        evaluations=EVALUATIONS,
        size=SIZE,
        loss=loss,
        seed=int(torch.randint(2**31, ())),
    )
    return dict(found.masks)
