"""Training on examples that are mixed in pairs.

References:
    Zhang, H., Cisse, M., Dauphin, Y. N., & Lopez-Paz, D. (2018). mixup: beyond empirical risk minimization.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.networks.nests import Nest, batch_size, map_tensors, tensors
from raysearch.trainables.training.distillation import BatchLoss, Loss


def mixed(batch_loss: Callable[[Loss], BatchLoss], loss: Loss, alpha: float) -> BatchLoss:
    """The loss of a batch whose examples are mixed with those of the same batch in another order.

    Each batch draws one share from Beta(alpha, alpha) by torch's own generator. Inputs of floats are mixed by
    it, and so are the losses by both examples' targets, whatever these are. Other inputs, and tensors that do
    not lie along the batch, stay the first example's. A teacher sees the mixed inputs.

    Args:
        batch_loss: makes the loss of a module on a batch from that of outputs and targets.
        loss: of outputs and targets, the mean over the batch.
        alpha: > 0: the larger, the more the examples are mixed.
    """
    draw = torch.distributions.Beta(alpha, alpha)

    def run(module: nn.Module, inputs: Nest, targets: Nest) -> Tensor:
        size = batch_size(inputs)
        share, order = float(draw.sample()), torch.randperm(size)

        def partners(tensor: Tensor) -> Tensor:
            along = tensor.dim() > 0 and len(tensor) == size
            return tensor[order.to(tensor.device)] if along else tensor

        def mix(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            return share * tensor + (1 - share) * partners(tensor)

        def both(outputs: Nest, own: Nest) -> Tensor:
            others = map_tensors(partners, own)
            return share * loss(outputs, own) + (1 - share) * loss(outputs, others)

        return batch_loss(both)(module, map_tensors(mix, inputs), targets)

    return run


def check_mixable(inputs: Nest) -> None:
    """Refuse inputs of which nothing can be mixed.

    Raises:
        ValueError: none is a tensor of floats.
    """
    kinds = [str(t.dtype).removeprefix("torch.") for t in tensors(inputs)]
    if not any(t.is_floating_point() for t in tensors(inputs)):
        raise UserError(
            f"training/mixup is set, but no input is of floats (they are {', '.join(kinds)}), and others "
            "cannot be mixed: leave it out"
        )
