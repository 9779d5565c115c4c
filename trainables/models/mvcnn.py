"""A multi-view network: a small convolutional branch with its own weights for each view, fused, classified.

References:
    Su, H., Maji, S., Kalogerakis, E., & Learned-Miller, E. (2015). Multi-view convolutional neural networks
    for 3D shape recognition. ICCV. (There the branches share their weights, and views are pooled by maxima.)
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.trainables.models.sizes import check_sizes

POOLINGS = ("max", "mean")


@dataclass(frozen=True)
class MVCNNPlan:
    """The shape of a multi-view network.

    Attributes:
        views: how many, each with a branch of its own.
        widths: of each branch's 3 x 3 convolutions; each halves the image.
        features: how many numbers a branch gives for its view.
        pooling: how the views' features become one: "max" or "mean".

    Raises:
        ValueError: a count below 1, no convolution, or another pooling.
    """

    views: int = 12
    widths: tuple[int, ...] = (8, 16, 32)
    features: int = 32
    pooling: str = "max"

    def __post_init__(self) -> None:
        if not self.widths or min(self.views, self.features, *self.widths) < 1:
            raise UserError(
                f"{self.views} views, widths {self.widths!r} and {self.features} features: "
                "give at least 1 of each"
            )
        if self.pooling not in POOLINGS:
            raise UserError(f"pooling is {self.pooling!r}, not one of {', '.join(POOLINGS)}")


class MVCNN(nn.Module):
    """Branches "branches.0" ..., pooling over the views, "head" (a linear layer); see ``build_mvcnn``.

    The features are pooled two branches at a time, which every runtime can do; since
    that ties the features of all branches, each branch ends in a linear layer whose outputs are not pruned.
    """

    def __init__(self, plan: MVCNNPlan, in_channels: int, classes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_branch(plan, in_channels) for _ in range(plan.views))
        self.pooling = plan.pooling
        self.head = nn.Linear(plan.features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Views (n, views, in_channels, h, w) -> logits (n, classes)."""
        features = [branch(x[:, i]) for i, branch in enumerate(self.branches)]
        if self.pooling == "max":
            return self.head(reduce(torch.maximum, features))  # type: ignore[no-any-return]
        return self.head(reduce(torch.add, features) / len(features))  # type: ignore[no-any-return]


def build_mvcnn(plan: MVCNNPlan, in_channels: int, classes: int) -> MVCNN:
    """The network of a plan, freshly initialised from torch's generator.

    Args:
        plan: views, widths, features and pooling.
        in_channels: of the images.
        classes: how many logits.

    Raises:
        ValueError: fewer than 1 channel or 2 classes.
    """
    check_sizes(in_channels, classes)
    return MVCNN(plan, in_channels, classes)


def _branch(plan: MVCNNPlan, channels: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, width in enumerate(plan.widths, start=1):
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(width)
        layers[f"relu{i}"] = nn.ReLU()
        channels = width
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["features"] = nn.Linear(channels, plan.features)
    return nn.Sequential(layers)
