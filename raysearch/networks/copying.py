"""Copies of networks, in this process and in others."""

from __future__ import annotations

import copy
import copyreg
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize


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


def let_pickle(model: nn.Module) -> None:
    """Let a network be pickled whose layers have parametrizations, which torch refuses.

    Such a layer's class is made for it alone, with the computed tensors as properties; it is made again where
    the layer is unpickled.
    """
    for module in model.modules():
        if parametrize.is_parametrized(module):
            copyreg.pickle(type(module), _reduce)


def _reduce(module: nn.Module) -> tuple[Any, ...]:
    (kind,) = type(module).__bases__
    return _parametrized, (kind, list(module.parametrizations)), dict(vars(module))  # type: ignore[arg-type]


def _parametrized(kind: type[nn.Module], names: list[str]) -> nn.Module:
    """A layer without state yet, whose tensors of these names are computed."""
    module: nn.Module = kind.__new__(kind)
    parametrize._inject_new_class(module)
    for name in names:
        parametrize._inject_property(module, name)
    copyreg.pickle(type(module), _reduce)
    return module
