"""Channels to keep, found by local search: pruning criteria beside those that rank channels one by one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from raysearch.trainables.data.batches import Examples
from raysearch.trainables.masks.annealing import Annealing
from raysearch.trainables.masks.genetic import Genetic
from raysearch.trainables.masks.mask_loss import Loss
from raysearch.trainables.masks.mask_search import Method, search_masks

METHODS: dict[str, Method] = {"annealing": Annealing(), "genetic": Genetic()}
EVALUATIONS, SIZE = 200, 256


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
