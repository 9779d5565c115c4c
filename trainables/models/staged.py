"""What networks in stages have in common: a stem, stages, the mean over all places, a linear head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

MakeBlock = Callable[[Any, int, int, bool], nn.Module]
"""Makes a block of its stage's plan, its input channels, its stride, and whether it is the stage's first."""


class Staged(nn.Module):
    """A network of "stem", "stage1" ..., global average pooling, "head" (a linear layer).

    Args:
        stem: gives ``channels`` channels.
        channels: of the stem.
        plans: of the stages, each with a ``depth`` and a ``width``; all but the first halve their input.
        make_block: makes their blocks.
        pool: the mean over all places.
        classes: how many logits.
    """

    def __init__(
        self,
        stem: nn.Module,
        channels: int,
        plans: Sequence[Any],
        make_block: MakeBlock,
        pool: nn.Module,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = tuple(f"stage{i + 1}" for i in range(len(plans)))
        for i, (name, plan) in enumerate(zip(self.stages, plans, strict=True)):
            blocks = []
            for b in range(plan.depth):
                blocks.append(make_block(plan, channels, 2 if b == 0 and i > 0 else 1, b == 0))
                channels = plan.width
            self.add_module(name, nn.Sequential(*blocks))
        self.pool = pool
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (n, in_channels, ...) -> logits (n, classes)."""
        x = self.stem(x)
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.head(self.flatten(self.pool(x)))  # type: ignore[no-any-return]
