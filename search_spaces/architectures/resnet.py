"""A searchable residual network: how many stages, and the depth, width, kernel and block type of each.

The network is that of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016) in its form for
small images, with three kinds of block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces.arguments import integers, one_of
from raysearch.search_spaces.domains import Path
from raysearch.search_spaces.keys import as_integer, as_mapping, check_keys

BLOCKS = ("basic", "plain", "separable")
KERNELS = (1, 3, 5, 7)
MAX_STAGES = 6
# Beyond these no network is built: a slip of the pen would take all memory.
MAX_DEPTH, MAX_WIDTH = 100, 8192
_STAGE_KEYS = ("depth", "width", "kernel", "block")


@dataclass(frozen=True)
class StagePlan:
    """One stage: ``depth`` blocks of ``width`` channels; every stage but the first halves the image."""

    depth: int
    width: int
    kernel: int = 3
    block: str = "basic"

    def __post_init__(self) -> None:
        if not (1 <= self.depth <= MAX_DEPTH and 1 <= self.width <= MAX_WIDTH):
            raise UserError(
                f"a stage of depth {self.depth} and width {self.width}: both must be at least 1, the depth "
                f"at most {MAX_DEPTH} and the width {MAX_WIDTH}"
            )
        if self.kernel not in KERNELS:
            raise UserError(f"kernel {self.kernel!r} is not one of {', '.join(map(str, KERNELS))}")
        if self.block not in BLOCKS:
            raise UserError(f"block {self.block!r} is not one of {', '.join(BLOCKS)}")


@dataclass(frozen=True)
class ResNetPlan:
    """A sampled architecture."""

    stem_width: int
    stages: tuple[StagePlan, ...]

    def parts(self) -> tuple[str, ...]:
        """The parts that exist, in order: "stem", "stage1", ..., "head"."""
        return ("stem", *(f"stage{i + 1}" for i in range(len(self.stages))), "head")

    def widths(self) -> dict[str, int]:
        """The output channels of each part but the head, whose width is the number of classes."""
        return dict(zip(self.parts(), (self.stem_width, *(s.width for s in self.stages)), strict=False))

    def known_parts(self) -> tuple[str, ...]:
        """The parts that any residual network can have."""
        return ("stem", *(f"stage{i + 1}" for i in range(MAX_STAGES)), "head")

    def reads(self, path: Path) -> bool:
        """Whether a value of the architecture space matters: those of stages beyond the last do not."""
        return len(path) == 1 or path[0] in self.parts()

    def encode(self) -> dict[str, Any]:
        """The canonical config: only the stages it has."""
        config: dict[str, Any] = {
            "family": "resnet",
            "stages": len(self.stages),
            "stem": {"width": self.stem_width},
        }
        for i, stage in enumerate(self.stages):
            config[f"stage{i + 1}"] = {key: getattr(stage, key) for key in _STAGE_KEYS}
        return config

    def enlarged(self, factor: int) -> ResNetPlan:
        """The network of a larger teacher: every width times ``factor``."""
        stages = tuple(replace(stage, width=stage.width * factor) for stage in self.stages)
        return ResNetPlan(self.stem_width * factor, stages)


def resnet(
    stages: int | tuple[int, int] = 3,
    depth: int | tuple[int, int] = (1, 3),
    width: int | tuple[int, int] = (8, 64),
    width_step: int = 8,
    kernel: int | tuple[int, ...] = (3,),
    block: str | tuple[str, ...] = ("basic",),
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

    Returns:
        Nested Tune domains; what has one value only is a constant.

    Raises:
        ValueError: a range with low >= high, a bound that is no multiple of the step, an unknown choice.
    """
    number = integers("stages", stages)
    most = stages if isinstance(stages, int) else max(stages)
    if most > MAX_STAGES:
        raise UserError(f"stages={stages!r}: at most {MAX_STAGES} stages, since each halves the image")
    space: dict[str, Any] = {"family": "resnet", "stages": number}
    space["stem"] = {"width": integers("width", width, width_step)}
    for i in range(most):
        space[f"stage{i + 1}"] = {
            "depth": integers("depth", depth),
            "width": integers("width", width, width_step),
            "kernel": one_of("kernel", kernel, KERNELS),
            "block": one_of("block", block, BLOCKS),
        }
    return space


def parts_of_resnet(space: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts that networks of an architecture space can have: the stem, the stages, the head.

    Raises:
        ValueError: the mapping is no architecture space.
    """
    if "stem" not in space:
        raise UserError("the architecture has no 'stem': make it with resnet(...)")
    stages = sorted(k for k in space if k.startswith("stage") and k != "stages")
    return ("stem", *stages, "head")


def decode_resnet(config: Mapping[str, Any]) -> ResNetPlan:
    """The plan of an architecture config; stages beyond ``config["stages"]`` are not read.

    Raises:
        ValueError: an unknown key, a missing stage, or a value out of range.
    """
    known = ("family", "stages", "stem", *(f"stage{i + 1}" for i in range(MAX_STAGES)))
    check_keys(config, known, "architecture")
    given = [k for k in known[3:] if k in config]
    stem = as_mapping(config.get("stem", {}), "architecture/stem")
    check_keys(stem, ("width",), "architecture/stem")
    if "width" not in stem:
        raise UserError("architecture/stem has no width")
    count = as_integer(config.get("stages", len(given)), "architecture/stages")
    if not 1 <= count <= MAX_STAGES:
        raise UserError(f"architecture/stages is {count}, not 1 to {MAX_STAGES}")
    width = as_integer(stem["width"], "architecture/stem/width")
    if not 1 <= width <= MAX_WIDTH:
        raise UserError(f"architecture/stem/width is {width}, not 1 to {MAX_WIDTH}")
    return ResNetPlan(width, tuple(_decode_stage(config, i + 1) for i in range(count)))


def _decode_stage(config: Mapping[str, Any], index: int) -> StagePlan:
    where = f"architecture/stage{index}"
    stage = as_mapping(config.get(f"stage{index}", {}), where)
    check_keys(stage, _STAGE_KEYS, where)
    for key in ("depth", "width"):
        if key not in stage:
            raise UserError(f"{where} has no {key}")
    numbers = {"kernel": 3, **{k: v for k, v in stage.items() if k != "block"}}
    numbers = {key: as_integer(value, f"{where}/{key}") for key, value in numbers.items()}
    try:
        return StagePlan(**numbers, block=str(stage.get("block", "basic")))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
