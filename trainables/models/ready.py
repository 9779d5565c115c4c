"""The networks of raysearch's own families of architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from raysearch.search_spaces.architectures import Architecture
from raysearch.search_spaces.architectures.resnet import ResNetPlan
from raysearch.trainables.models.resnet import build_resnet

#: Plan -> what makes its network, of the plan, the shape of one input and the number of classes.
BUILDERS: dict[type, Callable[[Any, Sequence[int], int], nn.Module]] = {
    ResNetPlan: lambda plan, shape, classes: build_resnet(plan, shape[0], classes),
}


def build_network(plan: Architecture, shape: Sequence[int], classes: int) -> nn.Module:
    """The network of a ready family's plan, freshly initialised from torch's generator.

    Args:
        plan: of a family of ``search_spaces``.
        shape: of one input, without the batch.
        classes: how many logits.

    Raises:
        ValueError: sizes that the network cannot have.
    """
    return BUILDERS[type(plan)](plan, shape, classes)


@dataclass(frozen=True)
class ReadyBuilder:
    """Makes the network of any ready family's plan, or the default one; picklable, unlike a closure.

    Args:
        default: what is built without a plan.
        shape: of one input, without the batch.
        classes: how many logits.
    """

    default: Architecture
    shape: tuple[int, ...]
    classes: int

    def __call__(self, plan: Architecture | None = None) -> nn.Module:
        """A fresh network."""
        return build_network(plan or self.default, self.shape, self.classes)
