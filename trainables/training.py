"""One epoch of training, of float and quantised modules alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from raysearch.trainables.distillation import BatchLoss


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite."""


def batches(
    dataset: Dataset[tuple[Tensor, Tensor]], size: int, generator: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches ``(x, y)`` of a data set, shuffled if a generator is given.

    A TensorDataset is indexed as a whole, which for small images is many times faster than a DataLoader.
    """
    if not isinstance(dataset, TensorDataset):
        yield from DataLoader(dataset, batch_size=size, shuffle=generator is not None, generator=generator)
        return
    x, y = dataset.tensors
    order = torch.arange(len(x)) if generator is None else torch.randperm(len(x), generator=generator)
    for part in torch.split(order, size):
        yield x[part], y[part]


def cosine(progress: float, *, warmup: float = 0.05) -> float:
    """The factor on the learning rate at a share in [0, 1] of a phase: linear warm-up, then cosine."""
    if progress < warmup:
        return max(progress / warmup, 0.05)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def train_epoch(
    module: nn.Module,
    dataset: Dataset[tuple[Tensor, Tensor]],
    loss: BatchLoss,
    optimizer: torch.optim.Optimizer,
    *,
    batch_size: int,
    lr: Callable[[float], float],
    generator: torch.Generator,
    augment: Callable[[Tensor], Tensor] | None = None,
    device: torch.device | None = None,
) -> float:
    """Train one epoch.

    Args:
        module: trained in place.
        dataset: of ``(x, y)``.
        loss: of a module on a batch.
        optimizer: over the module's parameters.
        batch_size: >= 1. A last batch of one sample is skipped, since batch norm cannot be trained on it.
        lr: the learning rate at a share of this epoch in [0, 1].
        generator: decides the order of the samples.
        augment: applied to each batch of inputs.
        device: where the module is.

    Returns:
        The mean loss over the epoch's samples.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    module.train()
    total, seen, samples = 0.0, 0, len(dataset)  # type: ignore[arg-type]
    for x, y in batches(dataset, batch_size, generator):
        if len(x) == 1 and samples > 1:
            continue
        x, y = x.to(device), y.to(device)
        for group in optimizer.param_groups:
            group["lr"] = lr(seen / samples)
        value = loss(module, augment(x) if augment else x, y)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        total, seen = total + value.item() * len(x), seen + len(x)
        if not math.isfinite(total):
            rate = lr(seen / samples)
            raise TrainingDiverged(f"the loss became {value.item()} at a learning rate of {rate:.2g}")
    return total / max(seen, 1)
