"""What the convolutional families have in common: a stem, stages of blocks, each of one width, and an exit.

References:
    Teerapittayanon, S., McDanel, B., & Kung, H. T. (2016). BranchyNet: fast inference via early exiting from
        deep neural networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces.architectures.numbered import NumberedPlan
from raysearch.search_spaces.arguments import integers

MAX_STAGES = 6
EXITS = "exits"  # the key of an architecture that says where its network may be left early
NO_EXIT = "none"
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
    """A sampled architecture; its parts are "stem", "stage1", ..., "head".

    Attributes:
        stem_width: channels of the stem.
        stages: of blocks.
        exit_after: the number of the stage behind which the network may be left, a part of which the exit is;
            0: it is run to its end.
    """

    stem_width: int
    stages: tuple[Stage, ...]
    exit_after: int = 0

    def widths(self) -> dict[str, int]:
        """The output channels of each part but the head, whose width is the number of classes."""
        return dict(zip(self.parts(), (self.stem_width, *(s.width for s in self.stages)), strict=False))

    def encode(self) -> dict[str, Any]:
        """The canonical config: only the stages it has, and an exit where it has one."""
        exits = {EXITS: exit_name(self.exit_after)} if self.exit_after else {}
        return {**self.encode_numbered(), "stem": {"width": self.stem_width}, **exits}

    def may_exit(self) -> bool:
        """Whether the network may be left early."""
        return self.exit_after > 0

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


def exit_name(stage: int) -> str:
    """What a config calls the exit behind a stage, by its number; of 0, that there is none."""
    return f"after_stage_{stage}" if stage else NO_EXIT


def exit_space(exits: str | tuple[str, ...], stages: tuple[str, ...]) -> dict[str, Any]:
    """What an architecture space says of exits; nothing where there are none.

    A single exit is a choice too: the parent, which every space contains, is of the same family without one.

    Args:
        exits: names of exits, and "none", to choose from.
        stages: the names of the stages; behind the last stands the head.

    Raises:
        UserError: a name is no exit of these stages, or is given twice.
    """
    from ray import tune

    names = [exits] if isinstance(exits, str) else list(exits)
    known = [exit_name(stage) for stage in range(len(stages))]
    for name in names:
        if name not in known:
            raise UserError(f"exits has {name!r}; {did_you_mean(str(name), known)}")
    if not names or len(set(names)) < len(names):
        raise UserError(f"exits={exits!r} must name each exit once, from {', '.join(known)}")
    return {} if names == [NO_EXIT] else {EXITS: tune.choice(names)}


def decode_exit(config: Mapping[str, Any], stages: int) -> int:
    """The number of the stage behind which an architecture's exit stands, 0 without one.

    An exit behind the last stage, or one that was not sampled, would be the head: it is none.

    Raises:
        UserError: it is no exit.
    """
    known = [exit_name(stage) for stage in range(MAX_STAGES)]
    given = config.get(EXITS, NO_EXIT)
    if given not in known:
        raise UserError(f"architecture/{EXITS} is {given!r}; {did_you_mean(str(given), known)}")
    stage = known.index(given)
    return stage if stage < stages else 0
