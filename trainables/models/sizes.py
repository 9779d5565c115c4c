"""What every network needs: channels to see and classes to tell apart."""

from raysearch.basics.failures import UserError


def check_sizes(in_channels: int, classes: int) -> None:
    """Refuse sizes that no network can have.

    Raises:
        ValueError: fewer than 1 input channel or 2 classes.
    """
    if in_channels < 1 or classes < 2:
        raise UserError(f"{in_channels} input channels and {classes} classes: give at least 1 and 2")
