"""Models of images and volumes, with the parts of the well-known ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from benchmarks.own_models.case import Case, accuracy, splits, tinted
from raysearch import Task


class VisionTransformer(nn.Module):
    """Patches, a class token, positions, a block with nn.MultiheadAttention."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head((x + self.mlp(self.norm2(x)))[:, 0])


class ConvNeXt(nn.Module):
    """A ConvNeXt block: depthwise convolution, norm and linear layers over the channels, a layer scale."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.group = nn.Conv2d(3, width, 2, stride=2), nn.GroupNorm(4, width)
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(self.stem(x))
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.wide(y)))
        return self.head((x + y.permute(0, 3, 1, 2)).mean((-2, -1)))


class ChannelShuffle(nn.Module):
    """A ShuffleNet unit: half of the channels pass, all are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.point, self.depth = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        kept, x = F.relu(self.norm(self.stem(x))).chunk(2, 1)
        x = torch.cat([kept, F.relu(self.depth(self.point(x)))], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(x.mean((2, 3)))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: wide, depthwise, narrow; ReLU6."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class UInt8(nn.Module):
    """Takes pixels 0..255 as they come from a file; refuses images of another form."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3 or len(x.shape) != 4:
            raise ValueError(f"no image: {tuple(x.shape)}")
        x = F.relu(self.conv(x.float() / 255 - 0.5))
        return self.head(F.max_pool2d(x, 8).flatten(1))


class Half(nn.Module):
    """Takes float16, as some loaders give it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.hardswish(self.conv(x.to(torch.float32))).amax((2, 3)))


class TwoNames(nn.Module):
    """One module under two names, each of them called."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first = nn.Conv2d(16, 16, 3, padding=1)
        self.second = self.first
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.second(F.relu(self.first(x))))
        return self.head(x.mean((2, 3)))


class CalledTwice(nn.Module):
    """A layer that is called again on its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.again = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for _ in range(2):
            x = F.relu(self.again(x) + x)
        return self.head(F.normalize(x.mean((2, 3))))


class InPlace(nn.Module):
    """Statements that change a tensor in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x.relu_()
        x = self.second(x)
        x.clamp_(-1, 1)
        F.relu(x, inplace=True)
        x = x.mean((2, 3))
        x += 0.5
        x[:, 0] = 0.0
        return self.head(x)


class Volume(nn.Module):
    """Convolutions over three axes; the mean over the last two, then over the third from the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(1, 16, 3, padding=1), nn.BatchNorm3d(16)
        self.second, self.head = nn.Conv3d(16, 24, 3, padding=1), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(F.relu(self.norm(self.first(x))), 2)
        return self.head(F.relu(self.second(x)).mean((-2, -1)).mean(-1))


class Norms(nn.Module):
    """Weights under norms: torch's old hook, and both as parametrisations."""

    def __init__(self) -> None:
        super().__init__()
        self.old = nn.utils.weight_norm(nn.Conv2d(3, 16, 3, padding=1))
        self.new = parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1))
        self.spectral = parametrizations.spectral_norm(nn.Conv2d(16, 16, 3, padding=1))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.new(F.leaky_relu(self.old(x), 0.1)), 0.1)
        return self.head(F.relu(self.spectral(x)).mean((2, 3)))


def images(n: int) -> tuple[Tensor, Tensor]:
    return tinted(n, 3, 16, 16)


def pixels(n: int) -> tuple[Tensor, Tensor]:
    x, labels = images(n)
    return (x * 40 + 100).clamp(0, 255).to(torch.uint8), labels


def half(n: int) -> tuple[Tensor, Tensor]:
    x, labels = images(n)
    return x.half(), labels


def relu6_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU6()),
        InvertedResidual(16, 48),
        InvertedResidual(16, 48),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(16, 4),
    )


def frozen_backbone() -> Case:
    """A frozen backbone in nn.Sequential."""
    backbone = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
    )
    backbone.requires_grad_(False)
    model = nn.Sequential(backbone, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
    model.append(nn.Linear(32, 4))
    return Case(Task(model, **splits(images)), "maximize accuracy", accuracy)


def vit() -> Case:
    """Vision transformer: `nn.MultiheadAttention`, class token, `len(x)`."""
    return Case(Task(VisionTransformer(), **splits(images)), "maximize accuracy", accuracy)


def convnext() -> Case:
    """ConvNeXt block: depthwise, LayerNorm, GroupNorm, layer scale."""
    return Case(Task(ConvNeXt(), **splits(images)), "maximize accuracy", accuracy)


def channel_shuffle() -> Case:
    """ShuffleNet unit: `chunk`, shuffled channels."""
    return Case(Task(ChannelShuffle(), **splits(images)), "maximize accuracy", accuracy)


def relu6() -> Case:
    """Inverted residuals with ReLU6, taught by the parent."""
    return Case(Task(relu6_network(), **splits(images)), "maximize accuracy", accuracy, teacher=True)


def uint8() -> Case:
    """uint8 images, an `if` on their shape."""
    return Case(Task(UInt8(), **splits(pixels)), "maximize accuracy", accuracy)


def float16() -> Case:
    """float16 images, hard swish."""
    return Case(Task(Half(), **splits(half)), "maximize accuracy", accuracy)


def two_names() -> Case:
    """A module under two names."""
    return Case(Task(TwoNames(), **splits(images)), "maximize accuracy", accuracy)


def called_twice() -> Case:
    """A layer called twice, `F.normalize`."""
    return Case(Task(CalledTwice(), **splits(images)), "maximize accuracy", accuracy)


def in_place() -> Case:
    """Statements in place: `relu_`, `clamp_`, `+=`, an assigned channel."""
    return Case(Task(InPlace(), **splits(images)), "maximize accuracy", accuracy)


def conv3d() -> Case:
    """Conv3d, means over some of the axes."""
    data = splits(lambda n: tinted(n, 1, 4, 8, 8))
    return Case(Task(Volume(), **data), "maximize accuracy", accuracy)


def weight_norms() -> Case:
    """`weight_norm` (old and new) and `spectral_norm`."""
    return Case(Task(Norms(), **splits(images)), "maximize accuracy", accuracy)


CASES = (
    vit, convnext, channel_shuffle, relu6, uint8, float16, two_names, called_twice, in_place, conv3d,
    weight_norms, frozen_backbone,
)  # fmt: skip
