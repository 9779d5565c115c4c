"""What the convolutional families have in common: a stem, and stages of blocks, each of one width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

from raysearch.basics.failures import UserError
from raysearch.search_spaces.architectures.numbered import NumberedPlan
from raysearch.search_spaces.arguments import integers

MAX_STAGES = 6
# Beyond these no network is built: a slip of the pen would take all memory.
MAX_DEPTH, MAX_WIDTH = 100, 8192


class AnyStage(Protocol):
    """A stage of any family."""

    @property
    def depth(self) -> int:
        """Blocks."""

    @property
    def width(self) -> int:
        """Channels that each block gives."""


Stage = TypeVar("Stage", bound=AnyStage)


@dataclass(frozen=True)
class StagedPlan(NumberedPlan, Generic[Stage]):
    """A sampled architecture; its parts are "stem", "stage1", ..., "head"."""

    stem_width: int
    stages: tuple[Stage, ...]

    def widths(self) -> dict[str, int]:
        """The output channels of each part but the head, whose width is the number of classes."""
        return dict(zip(self.parts(), (self.stem_width, *(s.width for s in self.stages)), strict=False))

    def encode(self) -> dict[str, Any]:
        """The canonical config: only the stages it has."""
        return {**self.encode_numbered(), "stem": {"width": self.stem_width}}

    def enlarged(self, factor: int) -> Self:
        """The network of a larger teacher: every width times ``factor``."""
        stages: Any = tuple(replace(s, width=s.width * factor) for s in self.stages)  # type: ignore[type-var]
        return replace(self, stem_width=self.stem_width * factor, stages=stages)


def check_stage(depth: int, width: int) -> None:
    """Refuse a stage that no network is built of.

    Raises:
        UserError: a depth or width below 1 or beyond what memory holds.
    """
    if not (1 <= depth <= MAX_DEPTH and 1 <= width <= MAX_WIDTH):
        raise UserError(
            f"a stage of depth {depth} and width {width}: both must be at least 1, the depth "
            f"at most {MAX_DEPTH} and the width {MAX_WIDTH}"
        )


def stage_space(
    family: str, stages: int | tuple[int, int], width: int | tuple[int, int], width_step: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The space of a network's family, number of stages and stem, and the names of the stages to add.

    Raises:
        UserError: more stages than can halve what they are given, or a range that is none.
    """
    number = integers("stages", stages)
    most = stages if isinstance(stages, int) else max(stages)
    if most > MAX_STAGES:
        raise UserError(f"stages={stages!r}: at most {MAX_STAGES} stages, since each halves what it is given")
    stem = {"width": integers("width", width, width_step)}
    return {"family": family, "stages": number, "stem": stem}, tuple(f"stage{i + 1}" for i in range(most))
