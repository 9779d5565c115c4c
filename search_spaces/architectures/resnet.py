"""A searchable residual network: how many stages, and the depth, width, kernel and block type of each.

The network is that of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016) in its form for
small images, with three kinds of block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from raysearch.search_spaces.architectures.numbered import (
    Form,
    check_one_of,
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

BLOCKS = ("basic", "plain", "separable")
KERNELS = (1, 3, 5, 7)


@dataclass(frozen=True)
class StagePlan:
    """One stage: ``depth`` blocks of ``width`` channels; every stage but the first halves the image."""

    depth: int
    width: int
    kernel: int = 3
    block: str = "basic"

    def __post_init__(self) -> None:
        check_stage(self.depth, self.width)
        check_one_of("kernel", self.kernel, KERNELS)
        check_one_of("block", self.block, BLOCKS)


@dataclass(frozen=True)
class ResNetPlan(StagedPlan[StagePlan]):
    """A sampled residual network."""

    FORM: ClassVar[Form] = Form("resnet", "stages", "stage", MAX_STAGES, before=("stem",))


def resnet(
    stages: int | tuple[int, int] = 3,
    depth: int | tuple[int, int] = (1, 3),
    width: int | tuple[int, int] = (8, 64),
    width_step: int = 8,
    kernel: int | tuple[int, ...] = (3,),
    block: str | tuple[str, ...] = ("basic",),
    exits: str | tuple[str, ...] = NO_EXIT,
) -> dict[str, Any]:
    """A space of residual networks; each stage chooses its depth, width, kernel and block by itself.

    Args:
        stages: how many stages, or the range (low, high), both included.
        depth: blocks a stage, or the range.
        width: channels of the stem and of each stage, or the range.
        width_step: widths are multiples of this.
        kernel: kernel sizes to choose from, out of 1, 3, 5, 7.
        block: block types to choose from: "basic" (two convolutions and a skip), "plain" (one convolution,
            no skip), "separable" (depthwise and pointwise, a skip where shapes agree).
        exits: where the network may be left early, to choose from: "none", "after_stage_1" and so on, each
            but after the last stage; see docs/early-exit.md.

    Returns:
        Nested Tune domains; what has one value only is a constant.

    Raises:
        ValueError: a range with low >= high, a bound that is no multiple of the step, an unknown choice.
    """
    space, names = stage_space("resnet", stages, width, width_step)
    space |= exit_space(exits, names)
    for name in names:
        space[name] = {
            "depth": integers("depth", depth),
            "width": integers("width", width, width_step),
            "kernel": one_of("kernel", kernel, KERNELS),
            "block": one_of("block", block, BLOCKS),
        }
    return space


def decode_resnet(config: Mapping[str, Any]) -> ResNetPlan:
    """The plan of an architecture config; stages beyond ``config["stages"]`` are not read.

    Raises:
        ValueError: an unknown key, a missing stage, or a value out of range.
    """
    stem = decode_integer(config, "stem/width", 1, MAX_WIDTH)
    stages = decode_numbered(ResNetPlan.FORM, config, StagePlan, ("stem", EXITS))
    return ResNetPlan(stem, stages, decode_exit(config, len(stages)))
