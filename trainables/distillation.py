"""Learning from a teacher's logits.

[1] G. Hinton, O. Vinyals, J. Dean. Distilling the Knowledge in a Neural Network. 2015.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
BatchLoss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def plain_loss(loss: Loss) -> BatchLoss:
    """The task's own loss of a module on a batch ``(x, y)``."""
    return lambda module, x, y: loss(module(x), y)


def distillation_loss(loss: Loss, teacher: nn.Module, *, temperature: float, weight: float) -> BatchLoss:
    """The task's loss mixed with the divergence from the teacher's softened logits [1].

    Args:
        loss: the task's own.
        teacher: gives logits of the student's shape; it is put into evaluation mode and not trained.
        temperature: > 0; softens both distributions. The term is scaled by its square, as in [1], so that its
            gradients keep their size.
        weight: in [0, 1], the share of the teacher's term.
    """
    teacher.eval()

    def mixed(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        logits = module(x)
        with torch.no_grad():
            target = functional.log_softmax(teacher(x) / temperature, dim=-1)
        divergence = functional.kl_div(
            functional.log_softmax(logits / temperature, dim=-1),
            target,
            reduction="batchmean",
            log_target=True,
        )
        return (1 - weight) * loss(logits, y) + weight * temperature**2 * divergence

    return mixed
