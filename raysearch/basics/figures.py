"""What a figure of a target, as a dictionary, says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_prediction(measured: Mapping[str, Any]) -> bool:
    """Whether a figure takes a measurement's place; a compiler's estimate, without an interval, does not."""
    return "interval" in measured
