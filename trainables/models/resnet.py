"""Build the network of a ResNetPlan.

Every stage's first block projects (He et al., option C) or, where separable, has no skip: so the channels of
a stage form dependency groups of their own, and a stage's pruning ratio is its own whatever the widths are.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
from raysearch.trainables.models.sizes import check_sizes


class Basic(nn.Module):
    """Two convolutions and a skip, projected where ``project``; He et al., CVPR 2016."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = convolution(channels, width, kernel, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(width, width, kernel)
        self.bn2 = nn.BatchNorm2d(width)
        self.skip = _projection(channels, width, stride) if project else nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, h / stride, w / stride)."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.skip(x))  # type: ignore[no-any-return]


class Plain(nn.Module):
    """One convolution, no skip."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = convolution(channels, width, kernel, stride)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, h / stride, w / stride)."""
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


def convolution(channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias (batch norm follows) that keeps the size of the image at stride 1."""
    return nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def _projection(channels: int, width: int, stride: int) -> nn.Sequential:
    layers = OrderedDict(conv=convolution(channels, width, 1, stride), bn=nn.BatchNorm2d(width))
    return nn.Sequential(layers)


def _block(stage: StagePlan, channels: int, stride: int, first: bool) -> nn.Module:
    if stage.block == "plain":
        return Plain(channels, stage.width, stage.kernel, stride)
    if stage.block == "separable":
        return Separable(channels, stage.width, stage.kernel, stride, skip=not first)
    return Basic(channels, stage.width, stage.kernel, stride, project=first)


class ResNet(nn.Module):
    """A residual network: "stem", "stage1" ..., global average pooling, "head" (a linear layer).

    Made by ``build_resnet``.
    """

    def __init__(self, plan: ResNetPlan, in_channels: int, classes: int) -> None:
        super().__init__()
        stem = OrderedDict(
            conv=convolution(in_channels, plan.stem_width, 3),
            bn=nn.BatchNorm2d(plan.stem_width),
            relu=nn.ReLU(),
        )
        self.stem = nn.Sequential(stem)
        channels = plan.stem_width
        self.stages = tuple(f"stage{i + 1}" for i in range(len(plan.stages)))
        for i, (name, stage) in enumerate(zip(self.stages, plan.stages, strict=True)):
            blocks = []
            for b in range(stage.depth):
                blocks.append(_block(stage, channels, stride=2 if b == 0 and i > 0 else 1, first=b == 0))
                channels = stage.width
            self.add_module(name, nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, in_channels, h, w) -> logits (n, classes)."""
        x = self.stem(x)
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.head(self.flatten(self.pool(x)))  # type: ignore[no-any-return]


def build_resnet(plan: ResNetPlan, in_channels: int, classes: int) -> ResNet:
    """The network of a plan, freshly initialised from torch's generator.

    Args:
        plan: the stem, and for each stage its depth, width, kernel and block.
        in_channels: of the images.
        classes: how many logits.

    Raises:
        ValueError: fewer than 1 channel or 2 classes.
    """
    check_sizes(in_channels, classes)
    return ResNet(plan, in_channels, classes)
