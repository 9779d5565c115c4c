"""Build the network of a MobileNetPlan.

A stage's first block has no skip, also where shapes agree: so the outputs of a stage's blocks form a
dependency group of their own, and a stage's pruning ratio is its own whatever the widths are.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from raysearch.search_spaces.architectures.mobilenet import InvertedPlan, MobileNetPlan, squeezed
from raysearch.trainables.models.activations import activation
from raysearch.trainables.models.resnet import convolution
from raysearch.trainables.models.sizes import check_sizes
from raysearch.trainables.models.staged import Staged


class SqueezeExcitation(nn.Module):
    """Weighs channels by what all of the image says; Hu et al., CVPR 2018, gated as in MobileNetV3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed(channels), 1)
        self.relu = nn.ReLU()
        self.widen = nn.Conv2d(squeezed(channels), channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same."""
        return x * self.gate(self.widen(self.relu(self.reduce(self.pool(x)))))  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; Sandler et al., CVPR 2018. A skip where ``skip``."""

    def __init__(self, stage: InvertedPlan, channels: int, stride: int, skip: bool, act: str) -> None:
        super().__init__()
        hidden, wider = channels * stage.expansion, stage.expansion > 1
        self.expand = convolution(channels, hidden, 1) if wider else nn.Identity()
        self.bn1 = nn.BatchNorm2d(hidden) if wider else nn.Identity()
        self.act1 = activation(act) if wider else nn.Identity()
        self.depthwise = convolution(hidden, hidden, stage.kernel, stride, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.act2 = activation(act)
        self.squeeze = SqueezeExcitation(hidden) if stage.squeeze else nn.Identity()
        self.project = convolution(hidden, stage.width, 1)
        self.bn3 = nn.BatchNorm2d(stage.width)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, h / stride, w / stride)."""
        y = self.act1(self.bn1(self.expand(x)))
        y = self.squeeze(self.act2(self.bn2(self.depthwise(y))))
        y = self.bn3(self.project(y))
        return x + y if self.skip else y  # type: ignore[no-any-return]


def build_mobilenet(plan: MobileNetPlan, in_channels: int, classes: int) -> Staged:
    """The network of a plan, freshly initialised from torch's generator.

    Args:
        plan: the stem, and for each stage its depth, width, expansion, kernel and squeeze-and-excitation.
        in_channels: of the images.
        classes: how many logits.

    Raises:
        ValueError: fewer than 1 channel or 2 classes.
    """
    check_sizes(in_channels, classes)
    stem = OrderedDict(
        conv=convolution(in_channels, plan.stem_width, 3),
        bn=nn.BatchNorm2d(plan.stem_width),
        act=activation(plan.activation),
    )

    def block(stage: InvertedPlan, channels: int, stride: int, first: bool) -> nn.Module:
        return InvertedResidual(stage, channels, stride, not first, plan.activation)

    pool = nn.AdaptiveAvgPool2d(1)
    return Staged(nn.Sequential(stem), plan.stem_width, plan.stages, block, pool, classes, plan.exit_after)
