"""What every network needs: channels to see and classes to tell apart."""

from __future__ import annotations

from collections.abc import Sequence

from raysearch.basics.failures import UserError


def check_sizes(in_channels: int, classes: int) -> None:
    """Refuse sizes that no network can have.

    Raises:
        ValueError: fewer than 1 input channel or 2 classes.
    """
    if in_channels < 1 or classes < 2:
        raise UserError(f"{in_channels} input channels and {classes} classes: give at least 1 and 2")


def check_axes(family: str, axes: Sequence[str], shape: Sequence[int]) -> None:
    """Refuse inputs that a family's networks do not take.

    Args:
        family: its name.
        axes: what one input has, in order.
        shape: of one input, without the batch.

    Raises:
        UserError: the shape has more or fewer axes.
    """
    if len(shape) != len(axes):
        raise UserError(
            f"{family} takes inputs of shape ({', '.join(axes)}), and one input has the shape "
            f"({', '.join(map(str, shape))}): choose a family for such inputs (mlp takes any)"
        )
