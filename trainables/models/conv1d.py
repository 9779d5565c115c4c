"""Build the network of a Conv1dPlan.

As in raysearch's residual networks for images, every stage's first block projects, so that a stage's pruning
ratio is its own whatever the widths are.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from raysearch.search_spaces.architectures.conv1d import Conv1dPlan, Stage1dPlan
from raysearch.trainables.models.sizes import check_sizes


class Basic1d(nn.Module):
    """Two convolutions and a skip, projected where ``project``."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = convolution(channels, width, kernel, stride)
        self.bn1 = nn.BatchNorm1d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(width, width, kernel)
        self.bn2 = nn.BatchNorm1d(width)
        self.skip = _projection(channels, width, stride) if project else nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, length) -> (n, width, length / stride)."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.skip(x))  # type: ignore[no-any-return]


class Plain1d(nn.Module):
    """One convolution, no skip."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = convolution(channels, width, kernel, stride)
        self.bn = nn.BatchNorm1d(width)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, length) -> (n, width, length / stride)."""
        return self.relu(self.bn(self.conv(x)))  # type: ignore[no-any-return]


def convolution(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Conv1d:
    """A convolution without bias (batch norm follows) that keeps the signal's length at stride 1."""
    return nn.Conv1d(channels, width, kernel, stride, padding=kernel // 2, bias=False)


def _projection(channels: int, width: int, stride: int) -> nn.Sequential:
    layers = OrderedDict(conv=convolution(channels, width, 1, stride), bn=nn.BatchNorm1d(width))
    return nn.Sequential(layers)


def _block(stage: Stage1dPlan, channels: int, stride: int, first: bool) -> nn.Module:
    if stage.block == "plain":
        return Plain1d(channels, stage.width, stage.kernel, stride)
    return Basic1d(channels, stage.width, stage.kernel, stride, project=first)


class Conv1dNet(nn.Module):
    """Convolutions along time: "stem", "stage1" ..., the mean over time, "head" (a linear layer).

    Made by ``build_conv1d``.
    """

    def __init__(self, plan: Conv1dPlan, in_channels: int, classes: int) -> None:
        super().__init__()
        stem = OrderedDict(
            conv=convolution(in_channels, plan.stem_width, 7),
            bn=nn.BatchNorm1d(plan.stem_width),
            relu=nn.ReLU(),
        )
        self.stem = nn.Sequential(stem)
        channels = plan.stem_width
        self.stages = plan.parts()[1:-1]
        for i, (name, stage) in enumerate(zip(self.stages, plan.stages, strict=True)):
            blocks = []
            for b in range(stage.depth):
                blocks.append(_block(stage, channels, stride=2 if b == 0 and i > 0 else 1, first=b == 0))
                channels = stage.width
            self.add_module(name, nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Signals (n, in_channels, length) -> logits (n, classes)."""
        x = self.stem(x)
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.head(self.flatten(self.pool(x)))  # type: ignore[no-any-return]


def build_conv1d(plan: Conv1dPlan, in_channels: int, classes: int) -> Conv1dNet:
    """The network of a plan, freshly initialised from torch's generator.

    Args:
        plan: the stem, and for each stage its depth, width, kernel and block.
        in_channels: of the signals.
        classes: how many logits.

    Raises:
        ValueError: fewer than 1 channel or 2 classes.
    """
    check_sizes(in_channels, classes)
    return Conv1dNet(plan, in_channels, classes)
