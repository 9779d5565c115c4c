"""Build the network of an MLPPlan."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from raysearch.search_spaces.architectures.mlp import MLPPlan
from raysearch.trainables.models.activations import activation
from raysearch.trainables.models.sizes import check_sizes


class MLP(nn.Module):
    """A perceptron: inputs flattened, "layer1" ..., "head" (a linear layer). Made by ``build_mlp``."""

    def __init__(self, plan: MLPPlan, inputs: int, classes: int) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.layers = plan.parts()[:-1]
        width = inputs
        for name, layer in zip(self.layers, plan.layers, strict=True):
            self.add_module(name, _layer(plan, width, layer.width))
            width = layer.width
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) -> logits (n, classes)."""
        x = self.flatten(x)
        for name in self.layers:
            x = getattr(self, name)(x)
        return self.head(x)  # type: ignore[no-any-return]


def _layer(plan: MLPPlan, inputs: int, width: int) -> nn.Sequential:
    layers: dict[str, nn.Module] = {"linear": nn.Linear(inputs, width, bias=not plan.norm)}
    if plan.norm:
        layers["bn"] = nn.BatchNorm1d(width)
    return nn.Sequential(OrderedDict(**layers, act=activation(plan.activation)))


def build_mlp(plan: MLPPlan, shape: Sequence[int], classes: int) -> MLP:
    """The network of a plan, freshly initialised from torch's generator.

    Args:
        plan: the hidden layers.
        shape: of one input, without the batch; it is flattened.
        classes: how many logits.

    Raises:
        ValueError: an input without any number in it, or fewer than 2 classes.
    """
    check_sizes(math.prod(shape), classes)
    return MLP(plan, math.prod(shape), classes)
