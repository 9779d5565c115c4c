"""Build the network of a ViTPlan.

Blocks add to their inputs, so that the embedding is one dependency group from the patches to the output, and
heads divide it: its channels stay. The hidden layer of each block's perceptron is a group of its own, and so
are its heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raysearch.search_spaces.architectures.vit import ViTPlan
from raysearch.trainables.models.activations import activation
from raysearch.trainables.models.sizes import check_sizes

# Of the positions at the start. With the 0.02 that Dosovitskiy et al. draw, small images are learned slower:
# the digits to .91 instead of .96 in 8 epochs with patches of 2 pixels, to .97 instead of .99 with 4.
_POSITIONS_STD = 0.3


class Patches(nn.Module):
    """An image as embedded patches with learned positions; where they do not divide it, padded with zeros."""

    def __init__(self, channels: int, size: tuple[int, int], patch: int, embedding: int) -> None:
        super().__init__()
        rows = [-(-side // patch) for side in size]
        # Half of what is missing on each side; where that is odd, one pixel too many, which no patch reads.
        padding = [(n * patch - side + 1) // 2 for n, side in zip(rows, size, strict=True)]
        self.project = nn.Conv2d(channels, embedding, patch, patch, padding=(padding[0], padding[1]))
        self.positions = nn.Parameter(torch.randn(1, embedding, *rows) * _POSITIONS_STD)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, patches, embedding)."""
        x = self.project(x)
        if x.shape[2:] != self.positions.shape[2:]:  # they would be repeated where there is one patch
            wanted, given = (tuple(t.shape[2:]) for t in (self.positions, x))
            raise ValueError(f"there are positions for {wanted} patches, and the image has {given}")
        x = x + self.positions
        return x.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a skip; Xiong et al., ICML 2020."""

    def __init__(self, embedding: int, heads: int, hidden: int, act: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embedding)
        self.attention = nn.MultiheadAttention(embedding, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(embedding)
        self.linear1 = nn.Linear(embedding, hidden)
        self.act = activation(act)
        self.linear2 = nn.Linear(hidden, embedding)

    def forward(self, x: Tensor) -> Tensor:
        """(n, patches, embedding) -> the same."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.linear2(self.act(self.linear1(self.norm2(x))))  # type: ignore[no-any-return]


class ViT(nn.Module):
    """A vision transformer: "patches", "block1" ..., a norm, the mean over the patches, "head".

    Made by ``build_vit``.
    """

    def __init__(self, plan: ViTPlan, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.patches = Patches(shape[0], shape[1:], plan.patch, plan.embedding)
        self.blocks = plan.parts()[1:-1]
        for name, block in zip(self.blocks, plan.blocks, strict=True):
            hidden = plan.embedding * block.mlp_ratio
            self.add_module(name, Block(plan.embedding, plan.heads, hidden, plan.activation))
        self.norm = nn.LayerNorm(plan.embedding)
        self.head = nn.Linear(plan.embedding, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, h, w) -> logits (n, classes)."""
        x = self.patches(x)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.head(self.norm(x).mean(1))  # type: ignore[no-any-return]


def build_vit(plan: ViTPlan, shape: Sequence[int], classes: int) -> ViT:
    """The network of a plan, freshly initialised from torch's generator.

    Args:
        plan: patches, heads and blocks.
        shape: of one image, (channels, height, width).
        classes: how many logits.

    Raises:
        ValueError: fewer than 1 channel or 2 classes.
    """
    channels, height, width = shape
    check_sizes(channels, classes)
    return ViT(plan, (channels, height, width), classes)
