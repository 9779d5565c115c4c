"""The activations of raysearch's own families, by the names that their plans give them."""

from __future__ import annotations

from torch import nn

_KINDS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "hard_swish": nn.Hardswish,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


def activation(name: str) -> nn.Module:
    """A fresh layer of a name that plans accept: "relu", "hard_swish", "gelu" or "tanh"."""
    return _KINDS[name]()
