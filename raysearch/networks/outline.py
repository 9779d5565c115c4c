"""A network's outline: which layers it has, read without running it, from weights that need not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd


@dataclass(frozen=True)
class Layer:
    """A layer with weights of its own.

    Attributes:
        kind: its class.
        shapes: of its own parameters and buffers, by name.
        channels: that it puts out, where it is a convolution or a linear layer; else 0.
    """

    kind: str
    shapes: Mapping[str, tuple[int, ...]]
    channels: int

    @property
    def is_sparse(self) -> bool:
        """Whether its weights may become zero one by one: those of convolutions and linear layers."""
        return self.channels > 0 and "Transpose" not in self.kind and "weight" in self.shapes

    @property
    def multiplies(self) -> bool:
        """Whether it has a weight of two axes or more: what may be quantised."""
        return any(len(shape) > 1 for shape in self.shapes.values())


def outline(model: nn.Module) -> dict[str, Layer]:
    """The layers of a model that have weights, by name, in the order in which it holds them."""
    layers = {}
    for name, module in model.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        if own:
            shapes = {key: tuple(tensor.shape) for key, tensor in own}
            layers[name] = Layer(type(module).__qualname__, shapes, _channels(module))
    return layers


def _channels(module: nn.Module) -> int:
    if isinstance(module, _ConvNd):
        return module.out_channels
    return module.out_features if isinstance(module, nn.Linear) else 0
