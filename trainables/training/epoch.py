"""One epoch of training, of float and quantised modules alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from raysearch.networks.nests import Nest, to_device
from raysearch.networks.nests import batch_size as size_of
from raysearch.trainables.data.batches import Collate, Examples, batches, count
from raysearch.trainables.training.distillation import BatchLoss


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite."""


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

    Returns:
        The mean loss over the epoch's samples.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    module.train()
    total, seen, samples = 0.0, 0, count(examples)
    for batch in batches(examples, batch_size, generator, collate):
        size = size_of(batch)
        if size == 1 and batch_size > 1 and samples > 1:
            continue
        inputs, targets = to_device(batch, device)
        for group in optimizer.param_groups:
            group["lr"] = lr(seen / samples)
        value = loss(module, augment(inputs) if augment else inputs, targets)
        if value.requires_grad:
            _descend(module, value, optimizer)
        total, seen = total + value.item() * size, seen + size
        if not math.isfinite(total):
            rate = lr(seen / samples)
            raise TrainingDiverged(f"the loss became {value.item()} at a learning rate of {rate:.2g}")
    return total / max(seen, 1)


def _descend(module: nn.Module, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), 5.0)
    optimizer.step()
