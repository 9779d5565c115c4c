"""How much each head of an attention matters, by the criteria for channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raysearch.networks.attention.heads import Attention, split_heads
from raysearch.trainables.pruning.criteria import lamp


def _magnitude(weights: Tensor, _: Tensor) -> Tensor:
    return weights.square().sum(1)


#: Of a weight and its gradient, each with a row for each head, the score of each head.
_RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "taylor": lambda weights, gradients: (weights * gradients).abs().sum(1),
    "hessian": lambda weights, gradients: (weights.square() * gradients).sum(1),
    "lamp": lambda weights, _: lamp(weights.square().sum(1)),
    "fpgm": lambda weights, _: torch.cdist(weights.abs(), weights.abs()).sum(1),
}


def head_scores(model: nn.Module, attention: Attention, criterion: str) -> Tensor:
    """The score of each head, shape (heads,), >= 0; the lowest go first.

    It is the mean over the projections of query, key and value and over what reads the heads, as that of a
    channel is over its group's layers (see ``channel_scores``). Criteria that say nothing of a head, batch
    norm's scales and those that search, are "magnitude" here.
    """
    if criterion == "random":
        return torch.rand(attention.count)
    scores = []
    for part in attention.slices:
        weight = model.get_parameter(part.parameter)
        if weight.dim() > 1:  # biases count nowhere
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            split = (split_heads(t.detach(), part, attention.count) for t in (weight, gradient))
            rows = [t.movedim(part.dim + 1, 0).flatten(1) for t in split]
            scores.append([_RULES.get(rule, _magnitude)(*rows) for rule in (criterion, "magnitude")])
    ours, magnitudes = (torch.stack(column).mean(0).cpu() for column in zip(*scores, strict=True))
    return ours if ours.isfinite().all() else magnitudes


def least_heads(scores: Tensor, left: int) -> list[int]:
    """The heads to remove so that so many are left, ascending."""
    return sorted(scores.argsort(stable=True)[: len(scores) - left].tolist())
