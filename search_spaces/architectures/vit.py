"""A searchable vision transformer: patches, heads, blocks, and the width of each block's perceptron.

The network is that of Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021), with the mean over its
patches in place of a class token (Beyer, Zhai and Kolesnikov, "Better plain ViT baselines for ImageNet-1k",
2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from raysearch.basics.failures import UserError
from raysearch.basics.parts import HEADS
from raysearch.search_spaces.architectures.numbered import (
    Form,
    NumberedPlan,
    check_one_of,
    check_range,
    decode_integer,
    decode_numbered,
)
from raysearch.search_spaces.arguments import integers, one_of

PATCHES = (1, 2, 4, 7, 8, 14, 16, 32)
ACTIVATIONS = ("relu", "gelu")
# Beyond these no network is built: a slip of the pen would take all memory.
MAX_BLOCKS, MAX_HEADS, MAX_HEAD_WIDTH, MAX_RATIO = 48, 64, 256, 16
_OTHERS = ("patch", "heads", "head_width", "activation")


@dataclass(frozen=True)
class BlockPlan:
    """One block: attention, and a perceptron whose hidden layer is ``mlp_ratio`` times the embedding."""

    mlp_ratio: int = 2

    def __post_init__(self) -> None:
        check_range("mlp_ratio", self.mlp_ratio, MAX_RATIO)


@dataclass(frozen=True)
class ViTPlan(NumberedPlan):
    """A sampled vision transformer; its parts are "patches", "block1", ..., "head".

    Args:
        patch: pixels of a patch's side.
        heads: of the attention of every block.
        head_width: what each head sees; the embedding is so wide times the heads, whatever they are.
        blocks: in their order.
        activation: between the two layers of each perceptron, "relu" or "gelu".
    """

    # What the blocks add to is one group from the patches to the output, in which heads would lose channels
    # unevenly: only the perceptrons' hidden layers and whole heads are pruned.
    FORM: ClassVar[Form] = Form("vit", "blocks", "block", MAX_BLOCKS, before=("patches",), whole=("patches",))

    patch: int
    heads: int
    head_width: int
    blocks: tuple[BlockPlan, ...]
    activation: str = "relu"

    def __post_init__(self) -> None:
        check_one_of("patch", self.patch, PATCHES)
        check_one_of("activation", self.activation, ACTIVATIONS)

    @property
    def embedding(self) -> int:
        """Channels of each patch."""
        return self.heads * self.head_width

    def widths(self) -> dict[str, int]:
        """The hidden channels of each block's perceptron, by the layer that gives them, and its heads."""
        found = {}
        for name, block in zip(self.FORM.numbered(len(self.blocks)), self.blocks, strict=True):
            found[f"{name}.linear1"] = self.embedding * block.mlp_ratio
            found[f"{name}.attention.{HEADS}"] = self.heads
        return found

    def encode(self) -> dict[str, Any]:
        """The canonical config: only the blocks it has."""
        return {**self.encode_numbered(), **{key: getattr(self, key) for key in _OTHERS}}

    def enlarged(self, factor: int) -> ViTPlan:
        """The network of a larger teacher: so many times as many heads, so that every layer is wider."""
        return replace(self, heads=self.heads * factor)


def vit(
    blocks: int | tuple[int, int] = (1, 4),
    patch: int | tuple[int, ...] = (4, 2, 8),
    heads: int | tuple[int, int] = (1, 4),
    head_width: int | tuple[int, int] = (8, 32),
    head_width_step: int = 8,
    mlp_ratio: int | tuple[int, ...] = (2, 1, 3, 4),
    activation: str | tuple[str, ...] = ("relu",),
) -> dict[str, Any]:
    """A space of vision transformers for images, with the mean over the patches and learned positions.

    The embedding has heads times head_width channels, so that heads divide it whatever is drawn; images that
    patches do not divide are padded with zeros. Each block chooses its perceptron's width by itself. Of
    choices the first is that of the middle of the space.

    Args:
        blocks: how many blocks, or the range (low, high), both included.
        patch: sides of the patches in pixels to choose from, out of 1, 2, 4, 7, 8, 14, 16, 32.
        heads: of attention, or the range.
        head_width: channels of each head, or the range.
        head_width_step: head widths are multiples of this.
        mlp_ratio: how many times the embedding a block's hidden layer has, to choose from, 1 to 16.
        activation: in the perceptrons, to choose from: "relu", or "gelu", which stays in float.

    Returns:
        Nested Tune domains; what has one value only is a constant.

    Raises:
        ValueError: a range with low >= high, a bound that is no multiple of the step, an unknown choice.
    """
    space = {
        "family": "vit",
        "blocks": integers("blocks", blocks),
        "patch": one_of("patch", patch, PATCHES),
        "heads": integers("heads", heads),
        "head_width": integers("head_width", head_width, head_width_step),
        "activation": one_of("activation", activation, ACTIVATIONS),
    }
    limits = {"blocks": (blocks, MAX_BLOCKS), "heads": (heads, MAX_HEADS)}
    for name, (given, limit) in {**limits, "head_width": (head_width, MAX_HEAD_WIDTH)}.items():
        if _most(given) > limit:
            raise UserError(f"{name}={given!r}: at most {limit}")
    for i in range(_most(blocks)):
        space[f"block{i + 1}"] = {"mlp_ratio": one_of("mlp_ratio", mlp_ratio, tuple(range(1, MAX_RATIO + 1)))}
    return space


def _most(value: int | tuple[int, int]) -> int:
    return value if isinstance(value, int) else max(value)


def decode_vit(config: Mapping[str, Any]) -> ViTPlan:
    """The plan of an architecture config; blocks beyond ``config["blocks"]`` are not read.

    Raises:
        ValueError: an unknown key, a missing value, or one out of range.
    """
    blocks = decode_numbered(ViTPlan.FORM, config, BlockPlan, _OTHERS)
    return ViTPlan(
        decode_integer(config, "patch", PATCHES[0], PATCHES[-1]),
        decode_integer(config, "heads", 1, MAX_HEADS * 8),  # of a larger teacher too
        decode_integer(config, "head_width", 1, MAX_HEAD_WIDTH),
        blocks,
        str(config.get("activation", "relu")),
    )
