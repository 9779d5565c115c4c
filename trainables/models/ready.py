"""The networks of raysearch's own families of architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from raysearch.search_spaces.architectures import Architecture
from raysearch.search_spaces.architectures.conv1d import Conv1dPlan
from raysearch.search_spaces.architectures.mlp import MLPPlan
from raysearch.search_spaces.architectures.mobilenet import MobileNetPlan
from raysearch.search_spaces.architectures.resnet import ResNetPlan
from raysearch.search_spaces.architectures.vit import ViTPlan
from raysearch.trainables.models.mlp import build_mlp
from raysearch.trainables.models.mobilenet import build_mobilenet
from raysearch.trainables.models.resnet import build_conv1d, build_resnet
from raysearch.trainables.models.sizes import check_axes
from raysearch.trainables.models.vit import build_vit

#: Plan -> what makes its network, of the plan, the shape of one input and the number of classes.
BUILDERS: dict[type, Callable[[Any, Sequence[int], int], nn.Module]] = {
    ResNetPlan: lambda plan, shape, classes: build_resnet(plan, shape[0], classes),
    MobileNetPlan: lambda plan, shape, classes: build_mobilenet(plan, shape[0], classes),
    ViTPlan: build_vit,
    Conv1dPlan: lambda plan, shape, classes: build_conv1d(plan, shape[0], classes),
    MLPPlan: build_mlp,
}
_IMAGE, _SIGNAL = ("channels", "height", "width"), ("channels", "length")
#: Plan -> its family, and the axes of one input, where the network takes no others.
_AXES: dict[type, tuple[str, tuple[str, ...]]] = {
    ResNetPlan: ("resnet", _IMAGE),
    MobileNetPlan: ("mobilenet", _IMAGE),
    ViTPlan: ("vit", _IMAGE),
    Conv1dPlan: ("conv1d", _SIGNAL),
}


def build_network(plan: Architecture, shape: Sequence[int], classes: int) -> nn.Module:
    """The network of a ready family's plan, freshly initialised from torch's generator.

    Args:
        plan: of a family of ``search_spaces``.
        shape: of one input, without the batch.
        classes: how many logits.

    Raises:
        ValueError: an input that the family does not take, or sizes that the network cannot have.
    """
    if type(plan) in _AXES:
        check_axes(*_AXES[type(plan)], shape)
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
