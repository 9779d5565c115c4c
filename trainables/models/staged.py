"""What networks in stages have in common: a stem, stages, the mean over all places, a head, maybe an exit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from raysearch.networks.exits import Exits

MakeBlock = Callable[[Any, int, int, bool], nn.Module]
"""Makes a block of its stage's plan, its input channels, its stride, and whether it is the stage's first."""


class LeftStage(nn.Module):
    """A stage behind which the network may be left: its blocks, by their numbers, and the "exit".

    Args:
        blocks: of the stage.
        pool: the mean over all places.
        channels: that the blocks give.
        classes: how many logits.
    """

    def __init__(self, blocks: Sequence[nn.Module], pool: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.depth = len(blocks)
        for number, block in enumerate(blocks):
            self.add_module(str(number), block)
        linear = nn.Linear(channels, classes)
        self.exit = nn.Sequential(OrderedDict(pool=pool, flatten=nn.Flatten(), linear=linear))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (n, in_channels, ...) -> what the next stage reads, and the exit's logits (n, classes)."""
        for number in range(self.depth):
            x = getattr(self, str(number))(x)
        return x, self.exit(x)


class Staged(nn.Module):
    """A network of "stem", "stage1" ..., global average pooling, "head" (a linear layer).

    Args:
        stem: gives ``channels`` channels.
        channels: of the stem.
        plans: of the stages, each with a ``depth`` and a ``width``; all but the first halve their input.
        make_block: makes their blocks.
        pool: the mean over all places.
        classes: how many logits.
        exit_after: the number of the stage behind which the network may be left; 0: it is run to its end.
    """

    def __init__(
        self,
        stem: nn.Module,
        channels: int,
        plans: Sequence[Any],
        make_block: MakeBlock,
        pool: nn.Module,
        classes: int,
        exit_after: int = 0,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.left = exit_after
        self.stages = tuple(f"stage{i + 1}" for i in range(len(plans)))
        for i, (name, plan) in enumerate(zip(self.stages, plans, strict=True)):
            blocks = []
            for b in range(plan.depth):
                blocks.append(make_block(plan, channels, 2 if b == 0 and i > 0 else 1, b == 0))
                channels = plan.width
            left = LeftStage(blocks, deepcopy(pool), channels, classes) if i + 1 == exit_after else None
            self.add_module(name, left or nn.Sequential(*blocks))
        self.pool = pool
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor | Exits:
        """Inputs (n, in_channels, ...) -> logits (n, classes), with an exit those of both."""
        x, early = self.stem(x), None
        for number, name in enumerate(self.stages, start=1):
            x = getattr(self, name)(x)
            if number == self.left:
                x, early = x
        last: Tensor = self.head(self.flatten(self.pool(x)))
        return last if early is None else Exits(early, last)
