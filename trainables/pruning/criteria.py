"""How much each channel of a dependency group matters."""

from __future__ import annotations

from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor

from raysearch.basics.failures import UserError


def channel_scores(group: Any, criterion: str, channels: int) -> Tensor:
    """The score of each channel of a group, shape (channels,); the lowest go first.

    Args:
        group: torch-pruning's group with all channels of its root layer.
        criterion: "magnitude", the mean squared L2 norm over the group's layers (Li et al., arXiv 1608.08710,
            for groups as in Fang et al., CVPR 2023), or "random", drawn from torch's generator.
        channels: of the root layer.

    Raises:
        ValueError: an unknown criterion.
    """
    if criterion == "random":
        return torch.rand(channels)
    if criterion != "magnitude":
        raise UserError(f"pruning criterion {criterion!r} is not 'magnitude' or 'random'")
    scores = tp.importance.GroupMagnitudeImportance(p=2, normalizer=None)(group)
    if scores is None or len(scores) != channels:
        # Nothing in the group has weights that map one to one to the root's channels.
        layer = group[0].dep.target.module
        return layer.weight.detach().flatten(1).square().sum(1).cpu()  # type: ignore[no-any-return]
    return scores.detach().cpu()  # type: ignore[no-any-return]
