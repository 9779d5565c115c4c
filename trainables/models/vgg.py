"""A VGG-style network: stages of 3 x 3 convolutions, each halving the image, and hidden linear layers.

References:
    Simonyan, K., & Zisserman, A. (2015). Very deep convolutional networks for large-scale image recognition.
    Ioffe, S., & Szegedy, C. (2015). Batch normalization. (after each convolution, as is now usual)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.trainables.models.sizes import check_sizes


class VGG(nn.Module):
    """Stages "stage1" ..., global average pooling, "hidden" (linear layers), "head"; see ``build_vgg``."""

    def __init__(
        self, stages: Sequence[Sequence[int]], hidden: Sequence[int], in_channels: int, classes: int
    ) -> None:
        super().__init__()
        channels = in_channels
        self.stages = tuple(f"stage{i + 1}" for i in range(len(stages)))
        for name, widths in zip(self.stages, stages, strict=True):
            self.add_module(name, _stage(channels, widths))
            channels = widths[-1]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        linear: OrderedDict[str, nn.Module] = OrderedDict()
        for i, width in enumerate(hidden):
            linear[f"linear{i + 1}"], linear[f"relu{i + 1}"] = nn.Linear(channels, width), nn.ReLU()
            channels = width
        self.hidden = nn.Sequential(linear)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, in_channels, h, w) -> logits (n, classes)."""
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.head(self.hidden(self.flatten(self.pool(x))))  # type: ignore[no-any-return]


def build_vgg(stages: Sequence[Sequence[int]], hidden: Sequence[int], in_channels: int, classes: int) -> VGG:
    """A network, freshly initialised from torch's generator.

    Args:
        stages: the widths of each stage's convolutions; VGG16 is
            ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3). An odd size of the image is rounded up
            where it is halved, so that any number of stages fits.
        hidden: the widths of the hidden linear layers; VGG16's are (4096, 4096).
        in_channels: of the images.
        classes: how many logits.

    Raises:
        ValueError: no stage, an empty one, a width below 1, fewer than 1 channel or 2 classes.
    """
    if not stages or not all(stages):
        raise UserError(f"stages is {stages!r}: give each stage the width of at least one convolution")
    if min((*(w for widths in stages for w in widths), *hidden)) < 1:
        raise UserError(f"stages {stages!r} and hidden {hidden!r}: every width must be at least 1")
    check_sizes(in_channels, classes)
    return VGG(stages, hidden, in_channels, classes)


def _stage(channels: int, widths: Sequence[int]) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, width in enumerate(widths):
        layers[f"conv{i + 1}"] = nn.Conv2d(channels, width, 3, padding=1)
        layers[f"bn{i + 1}"] = nn.BatchNorm2d(width)
        layers[f"relu{i + 1}"] = nn.ReLU()
        channels = width
    layers["pool"] = nn.MaxPool2d(2, ceil_mode=True)
    return nn.Sequential(layers)
