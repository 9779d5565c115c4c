"""A searchable convolutional network for signals: stages of one-dimensional blocks, with or without skips.

The network is that of Wang, Yan and Oates, "Time Series Classification from Scratch with Deep Neural
Networks: A Strong Baseline" (IJCNN 2017), which averages over time before its linear layer, with stages that
halve the signal's length as those of residual networks halve an image.
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

BLOCKS = ("basic", "plain")
KERNELS = (1, 3, 5, 7, 9, 11, 15, 21, 31)


@dataclass(frozen=True)
class Stage1dPlan:
    """One stage: ``depth`` blocks of ``width`` channels; every stage but the first halves the signal."""

    depth: int
    width: int
    kernel: int = 5
    block: str = "basic"

    def __post_init__(self) -> None:
        check_stage(self.depth, self.width)
        check_one_of("kernel", self.kernel, KERNELS)
        check_one_of("block", self.block, BLOCKS)


@dataclass(frozen=True)
class Conv1dPlan(StagedPlan[Stage1dPlan]):
    """A sampled network for signals."""

    FORM: ClassVar[Form] = Form("conv1d", "stages", "stage", MAX_STAGES, before=("stem",))


def conv1d(
    stages: int | tuple[int, int] = 3,
    depth: int | tuple[int, int] = (1, 2),
    width: int | tuple[int, int] = (8, 64),
    width_step: int = 8,
    kernel: int | tuple[int, ...] = (5, 3, 9),
    block: str | tuple[str, ...] = ("basic", "plain"),
    exits: str | tuple[str, ...] = NO_EXIT,
) -> dict[str, Any]:
    """A space of one-dimensional convolutional networks for signals (channels, length).

    Each stage chooses its depth, width, kernel and block by itself; every stage but the first halves the
    signal. Of choices the first is that of the middle of the space.

    Args:
        stages: how many stages, or the range (low, high), both included.
        depth: blocks a stage, or the range.
        width: channels of the stem and of each stage, or the range.
        width_step: widths are multiples of this.
        kernel: kernel sizes to choose from, out of 1, 3, 5, 7, 9, 11, 15, 21, 31.
        block: block types to choose from: "basic" (two convolutions and a skip), "plain" (one convolution,
            no skip).
        exits: where the network may be left early, to choose from: "none", "after_stage_1" and so on, each
            but after the last stage; see docs/early-exit.md.

    Returns:
        Nested Tune domains; what has one value only is a constant.

    Raises:
        ValueError: a range with low >= high, a bound that is no multiple of the step, an unknown choice.
    """
    space, names = stage_space("conv1d", stages, width, width_step)
    space |= exit_space(exits, names)
    for name in names:
        space[name] = {
            "depth": integers("depth", depth),
            "width": integers("width", width, width_step),
            "kernel": one_of("kernel", kernel, KERNELS),
            "block": one_of("block", block, BLOCKS),
        }
    return space


def decode_conv1d(config: Mapping[str, Any]) -> Conv1dPlan:
    """The plan of an architecture config; stages beyond ``config["stages"]`` are not read.

    Raises:
        ValueError: an unknown key, a missing stage, or a value out of range.
    """
    stem = decode_integer(config, "stem/width", 1, MAX_WIDTH)
    stages = decode_numbered(Conv1dPlan.FORM, config, Stage1dPlan, ("stem", EXITS))
    return Conv1dPlan(stem, stages, decode_exit(config, len(stages)))
