"""Copies of networks."""

from __future__ import annotations

import copy

from torch import Tensor, nn


def copy_of(model: nn.Module) -> nn.Module:
    """A deep copy, also of a network that keeps computed tensors as attributes.

    The hooks of ``torch.nn.utils.weight_norm`` and ``spectral_norm`` leave the weight of the last forward
    pass in the layer, with its history, which copy refuses. Both networks are left without that history; the
    next pass computes the weight anew.
    """
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                setattr(module, name, value.detach())
    return copy.deepcopy(model)
