"""Batch norm's statistics taken anew, so that an untrained change of a network says what it is worth.

Pruning and quantisation shift the activations that follow; with the old statistics a network that could be
trained to the parent's accuracy may guess like a random one.

References:
    Li, B., Wu, B., Su, J., Wang, G., & Lin, L. (2020). EagleEye: fast sub-net evaluation for efficient neural
        network pruning.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raysearch.networks import nests
from raysearch.networks.copying import copy_of
from raysearch.networks.nests import device_of, to_device
from raysearch.trainables.data.batches import Collate, Examples, batches

_BATCHES, _BATCH_SIZE = 8, 64  # some hundred examples


@torch.no_grad()
def recalibrated(model: nn.Module, examples: Examples, collate: Collate | None, seed: int) -> nn.Module:
    """A copy whose batch-norm layers hold the plain mean of the statistics of some hundred examples.

    Args:
        model: left as it is.
        examples: of (inputs, targets), those of training.
        collate: makes a batch of a list of examples.
        seed: decides which examples.

    Returns:
        The copy, in evaluation mode; a plain one where no layer keeps such statistics.
    """
    copied = copy_of(model).eval()
    norms = [m for m in copied.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return copied
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative mean
        norm.train()
    generator = torch.Generator().manual_seed(seed)
    for number, batch in enumerate(batches(examples, _BATCH_SIZE, generator, collate)):
        if number == _BATCHES or (number and nests.batch_size(batch) == 1):
            break
        nests.call(copied, to_device(batch[0], device_of(copied)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = cast("float", momentum)
        norm.eval()
    return copied
