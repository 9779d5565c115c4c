"""A searchable network of inverted residuals with squeeze-and-excitation, for devices of little power.

The blocks are those of Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018),
with what Howard et al., "Searching for MobileNetV3" (ICCV 2019), added: kernels of several sizes,
squeeze-and-excitation (Hu et al., CVPR 2018) and hard swish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from raysearch.search_spaces.architectures.numbered import (
    Form,
    check_one_of,
    check_range,
    decode_integer,
    decode_numbered,
)
from raysearch.search_spaces.architectures.stages import (
    EXITS,
    MAX_STAGES,
    MAX_WIDTH,
    NO_EXIT,
    StagedPlan,
    check_stage,
    decode_exit,
    exit_space,
    stage_space,
)
from raysearch.search_spaces.arguments import integers, one_of

KERNELS = (3, 5, 7)
ACTIVATIONS = ("relu", "hard_swish")
MAX_EXPANSION = 12
# Of the hidden channels one in four, and a multiple of 8, as torchvision's networks have.
_SQUEEZED, _STEP = 4, 8


@dataclass(frozen=True)
class InvertedPlan:
    """One stage: ``depth`` inverted residuals that give ``width`` channels.

    Args:
        depth: how many blocks.
        width: channels that each block gives.
        expansion: a block's hidden channels are so many times the channels that it is given; 1: it has no
            convolution that widens.
        kernel: of the depthwise convolution.
        squeeze: whether hidden channels are weighed by squeeze-and-excitation.
    """

    depth: int
    width: int
    expansion: int = 4
    kernel: int = 3
    squeeze: bool = False

    def __post_init__(self) -> None:
        check_stage(self.depth, self.width)
        check_range("expansion", self.expansion, MAX_EXPANSION)
        check_one_of("kernel", self.kernel, KERNELS)


@dataclass(frozen=True)
class MobileNetPlan(StagedPlan[InvertedPlan]):
    """A sampled network of inverted residuals; one activation, "relu" or "hard_swish", in all of it."""

    FORM: ClassVar[Form] = Form("mobilenet", "stages", "stage", MAX_STAGES, before=("stem",))

    activation: str = "relu"

    def __post_init__(self) -> None:
        check_one_of("activation", self.activation, ACTIVATIONS)

    def widths(self) -> dict[str, int]:
        """The output channels of each group that can be pruned, by its first layer.

        A stage has a group of its blocks' outputs; each block has its hidden channels and its squeezed ones.
        Where a block does not expand, its hidden channels are those of the group before it.
        """
        return dict(self._groups())

    def _groups(self) -> Iterator[tuple[str, int]]:
        yield "stem.conv", self.stem_width
        channels = self.stem_width
        for name, stage in zip(self.FORM.numbered(len(self.stages)), self.stages, strict=True):
            for block in range(stage.depth):
                hidden = channels * stage.expansion
                if stage.expansion > 1:
                    yield f"{name}.{block}.expand", hidden
                if stage.squeeze:
                    yield f"{name}.{block}.squeeze.reduce", squeezed(hidden)
                if block == 0:
                    yield f"{name}.0.project", stage.width
                channels = stage.width

    def encode(self) -> dict[str, Any]:
        """The canonical config: only the stages it has."""
        return {**super().encode(), "activation": self.activation}


def squeezed(hidden: int) -> int:
    """The channels to which squeeze-and-excitation squeezes so many hidden ones."""
    return max(_STEP, _STEP * round(hidden / (_SQUEEZED * _STEP)))


def mobilenet(
    stages: int | tuple[int, int] = 3,
    depth: int | tuple[int, int] = (1, 3),
    width: int | tuple[int, int] = (8, 64),
    width_step: int = 8,
    expansion: int | tuple[int, ...] = (4, 1, 2, 3, 6),
    kernel: int | tuple[int, ...] = (3, 5),
    squeeze: bool | tuple[bool, ...] = (False, True),
    activation: str | tuple[str, ...] = ("relu",),
    exits: str | tuple[str, ...] = NO_EXIT,
) -> dict[str, Any]:
    """A space of networks of inverted residuals (MobileNet, EfficientNet) for images.

    Each stage chooses all but the activation by itself; every stage but the first halves the image. Of
    choices the first is that of the middle of the space, which is the parent where a task's own network is of
    another family.

    Args:
        stages: how many stages, or the range (low, high), both included.
        depth: blocks a stage, or the range.
        width: channels of the stem and of each stage's blocks, or the range.
        width_step: widths are multiples of this.
        expansion: how many times its input's channels a block has inside, to choose from, 1 to 12.
        kernel: kernel sizes of the depthwise convolutions to choose from, out of 3, 5, 7.
        squeeze: whether blocks have squeeze-and-excitation, to choose from.
        activation: of the whole network, to choose from: "relu", or "hard_swish", which runtimes compute
            slowly in integers.
        exits: where the network may be left early, to choose from: "none", "after_stage_1" and so on, each
            but after the last stage; see docs/early-exit.md.

    Returns:
        Nested Tune domains; what has one value only is a constant.

    Raises:
        ValueError: a range with low >= high, a bound that is no multiple of the step, an unknown choice.
    """
    space, names = stage_space("mobilenet", stages, width, width_step)
    space |= exit_space(exits, names)
    space["activation"] = one_of("activation", activation, ACTIVATIONS)
    for name in names:
        space[name] = {
            "depth": integers("depth", depth),
            "width": integers("width", width, width_step),
            "expansion": one_of("expansion", expansion, tuple(range(1, MAX_EXPANSION + 1))),
            "kernel": one_of("kernel", kernel, KERNELS),
            "squeeze": one_of("squeeze", squeeze, (False, True)),
        }
    return space


def decode_mobilenet(config: Mapping[str, Any]) -> MobileNetPlan:
    """The plan of an architecture config; stages beyond ``config["stages"]`` are not read.

    Raises:
        ValueError: an unknown key, a missing stage, or a value out of range.
    """
    stem = decode_integer(config, "stem/width", 1, MAX_WIDTH)
    stages = decode_numbered(MobileNetPlan.FORM, config, InvertedPlan, ("stem", "activation", EXITS))
    activation = str(config.get("activation", "relu"))
    return MobileNetPlan(stem, stages, decode_exit(config, len(stages)), activation)
