"""One epoch of training, of float and quantised modules alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from raysearch.networks.nests import Nest, to_device
from raysearch.networks.nests import batch_size as size_of
from raysearch.trainables.data.batches import Collate, Examples, batches, count
from raysearch.trainables.training.distillation import BatchLoss
from raysearch.trainables.training.optimizers import Descent, Stepping


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite."""


_ONE_BY_ONE = Stepping()


def train_epoch(
    module: nn.Module,
    examples: Examples,
    loss: BatchLoss,
    optimizer: torch.optim.Optimizer,
    *,
    batch_size: int,
    lr: Callable[[float], float],
    generator: torch.Generator,
    augment: Callable[[Nest], Nest] | None = None,
    collate: Collate | None = None,
    device: torch.device | None = None,
    stepping: Stepping = _ONE_BY_ONE,
) -> float:
    """Train one epoch. Where the loss depends on no weight that is trained, no step is taken.

    Args:
        module: trained in place.
        examples: of (inputs, targets).
        loss: of a module on a batch.
        optimizer: over the module's parameters.
        batch_size: >= 1. Of larger batches a last one of one sample is skipped: batch norm cannot be
            trained on it.
        lr: the learning rate at a share of this epoch in [0, 1].
        generator: decides the order of the samples.
        augment: applied to each batch of inputs.
        collate: makes a batch of a list of examples.
        device: where the module is.
        stepping: how gradients become steps; what is left over at the epoch's end is a step of its own.

    Returns:
        The mean loss over the epoch's samples.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    module.train()
    total, seen, samples = 0.0, 0, count(examples)
    descent = Descent(module, optimizer, stepping)
    for batch in batches(examples, batch_size, generator, collate):
        size = size_of(batch)
        if size == 1 and batch_size > 1 and samples > 1:
            continue
        inputs, targets = to_device(batch, device)
        descent.set_rate(lr(seen / samples))
        value = loss(module, augment(inputs) if augment else inputs, targets)
        descent.take(value, size)
        total, seen = total + value.item() * size, seen + size
        if not math.isfinite(total):
            rate = lr(seen / samples)
            raise TrainingDiverged(f"the loss became {value.item()} at a learning rate of {rate:.2g}")
    descent.step()
    return total / max(seen, 1)
