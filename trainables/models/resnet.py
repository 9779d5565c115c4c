"""Build the networks of a ResNetPlan, for images, and of a Conv1dPlan, for signals.

Every stage's first block projects (He et al., option C) or, where separable, has no skip: so the channels of
a stage form dependency groups of their own, and a stage's pruning ratio is its own whatever the widths are.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from raysearch.search_spaces.architectures.conv1d import Conv1dPlan, Stage1dPlan
from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
from raysearch.trainables.models.sizes import check_sizes
from raysearch.trainables.models.staged import Staged

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


class Basic(nn.Module):
    """Two convolutions and a skip, projected where ``project``; He et al., CVPR 2016."""

    def __init__(
        self, channels: int, width: int, kernel: int, stride: int, project: bool, dims: int = 2
    ) -> None:
        super().__init__()
        self.conv1 = convolution(channels, width, kernel, stride, dims=dims)
        self.bn1 = _NORMS[dims](width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(width, width, kernel, dims=dims)
        self.bn2 = _NORMS[dims](width)
        self.skip = _projection(channels, width, stride, dims) if project else nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, h / stride, w / stride), or along one axis."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.skip(x))  # type: ignore[no-any-return]


class Plain(nn.Module):
    """One convolution, no skip."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, dims: int = 2) -> None:
        super().__init__()
        self.conv = convolution(channels, width, kernel, stride, dims=dims)
        self.bn = _NORMS[dims](width)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, h / stride, w / stride), or along one axis."""
        return self.relu(self.bn(self.conv(x)))  # type: ignore[no-any-return]


class Separable(nn.Module):
    """A depthwise and a pointwise convolution, and a skip where ``skip``; Howard et al., arXiv 1704.04861."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, skip: bool) -> None:
        super().__init__()
        self.depthwise = convolution(channels, channels, kernel, stride, groups=channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.pointwise = convolution(channels, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, h / stride, w / stride)."""
        y = self.bn2(self.pointwise(self.relu1(self.bn1(self.depthwise(x)))))
        return self.relu2(y + x if self.skip else y)  # type: ignore[no-any-return]


def convolution(
    channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1, dims: int = 2
) -> nn.Module:
    """A convolution without bias (batch norm follows) that keeps the size of its input at stride 1."""
    make = _CONVOLUTIONS[dims]
    return make(channels, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def _projection(channels: int, width: int, stride: int, dims: int) -> nn.Sequential:
    layers = OrderedDict(conv=convolution(channels, width, 1, stride, dims=dims), bn=_NORMS[dims](width))
    return nn.Sequential(layers)


def _stem(in_channels: int, width: int, kernel: int, dims: int) -> nn.Sequential:
    conv = convolution(in_channels, width, kernel, dims=dims)
    return nn.Sequential(OrderedDict(conv=conv, bn=_NORMS[dims](width), relu=nn.ReLU()))


def _block(stage: StagePlan, channels: int, stride: int, first: bool) -> nn.Module:
    if stage.block == "plain":
        return Plain(channels, stage.width, stage.kernel, stride)
    if stage.block == "separable":
        return Separable(channels, stage.width, stage.kernel, stride, skip=not first)
    return Basic(channels, stage.width, stage.kernel, stride, project=first)


def _block1d(stage: Stage1dPlan, channels: int, stride: int, first: bool) -> nn.Module:
    if stage.block == "plain":
        return Plain(channels, stage.width, stage.kernel, stride, dims=1)
    return Basic(channels, stage.width, stage.kernel, stride, project=first, dims=1)


def build_resnet(plan: ResNetPlan, in_channels: int, classes: int) -> Staged:
    """The network of a plan, freshly initialised from torch's generator.

    Args:
        plan: the stem, and for each stage its depth, width, kernel and block.
        in_channels: of the images.
        classes: how many logits.

    Raises:
        ValueError: fewer than 1 channel or 2 classes.
    """
    check_sizes(in_channels, classes)
    stem = _stem(in_channels, plan.stem_width, 3, dims=2)
    return Staged(
        stem, plan.stem_width, plan.stages, _block, nn.AdaptiveAvgPool2d(1), classes, plan.exit_after
    )


def build_conv1d(plan: Conv1dPlan, in_channels: int, classes: int) -> Staged:
    """The same for signals (n, channels, length).

    Args:
        plan: the stem, and for each stage its depth, width, kernel and block.
        in_channels: of the signals.
        classes: how many logits.

    Raises:
        ValueError: fewer than 1 channel or 2 classes.
    """
    check_sizes(in_channels, classes)
    stem = _stem(in_channels, plan.stem_width, 7, dims=1)
    return Staged(
        stem, plan.stem_width, plan.stages, _block1d, nn.AdaptiveAvgPool1d(1), classes, plan.exit_after
    )
