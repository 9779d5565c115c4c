"""Gradients of a task's loss, lent to a model while its channels are scored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.networks import nests
from raysearch.networks.copying import copy_of
from raysearch.trainables.data.batches import Collate, Examples, batches
from raysearch.trainables.masks.mask_loss import Loss

EXAMPLES, _BATCH_SIZE = 256, 64


@contextmanager
def lent_gradients(
    model: nn.Module, criterion: str, examples: Examples, collate: Collate | None, loss: Loss
) -> Iterator[None]:
    """Within it each parameter's ``grad`` is what ``loss_gradients`` gives; after it all are as they were."""
    found = loss_gradients(model, criterion, examples, collate, loss)
    parameters = list(model.parameters())
    own = [p.grad for p in parameters]
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, own, strict=True):
            parameter.grad = gradient


def loss_gradients(
    model: nn.Module, criterion: str, examples: Examples, collate: Collate | None, loss: Loss
) -> list[Tensor | None]:
    """What a criterion needs of each parameter, in the model's order; None for what is no float.

    Args:
        model: left as it is: a copy runs, in evaluation mode. Frozen parameters have gradients too.
        criterion: "taylor": the gradient of the loss; "hessian": the sum of the squared gradients of each
            example's loss, which stands for the Hessian's diagonal. Both are up to a factor.
        examples: for training, of which 256 are looked at, drawn by torch's generator.
        collate: makes a batch of a list of examples.
        loss: of outputs and targets.

    Raises:
        UserError: the loss depends on no parameter.
    """
    model, squared = copy_of(model).eval(), criterion == "hessian"
    size = 1 if squared else _BATCH_SIZE
    floats: dict[int, Tensor] = {
        i: p.requires_grad_() for i, p in enumerate(model.parameters()) if p.is_floating_point()
    }
    sums = {i: torch.zeros_like(p) for i, p in floats.items()}
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    with torch.enable_grad():
        for batch in islice(batches(examples, size, generator, collate), EXAMPLES // size):
            inputs, targets = nests.to_device(batch, nests.device_of(model))
            value = loss(nests.call(model, inputs), targets) * nests.batch_size(inputs)
            for i, gradient in zip(floats, _gradients(value, list(floats.values()), criterion), strict=True):
                if gradient is not None:
                    sums[i] += gradient.square() if squared else gradient
    return [sums.get(i) for i, _ in enumerate(model.parameters())]


def _gradients(value: Tensor, parameters: list[Tensor], criterion: str) -> tuple[Tensor | None, ...]:
    found: tuple[Tensor | None, ...] = ()
    if value.requires_grad:
        found = torch.autograd.grad(value, parameters, allow_unused=True)
    if all(gradient is None for gradient in found):
        raise UserError(
            f"criterion {criterion!r} needs gradients, and the loss depends on none of the model's weights: "
            "choose magnitude, or compute the loss from the outputs by torch's operators"
        )
    return found
