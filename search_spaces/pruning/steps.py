"""Pruning in several steps over the float epochs of a trial, instead of all at once before them.

References:
    Zhu, M., & Gupta, S. (2017). To prune, or not to prune: exploring the efficacy of pruning for model
        compression. (equation 1)
"""

from __future__ import annotations

import math
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces.arguments import integers
from raysearch.search_spaces.keys import as_integer

_SPAN = 2 / 3  # of the float epochs, in which all steps are taken: the rest is for what is left


def share_at(step: int, steps: int) -> float:
    """The share of a ratio that is reached with a step from 1 to ``steps``: a cubic, fast at first."""
    return 1 - (1 - step / steps) ** 3


def steps_by(epoch: int, epochs: int, steps: int) -> int:
    """How many of the steps are taken before an epoch, from 1 on, of so many in float; at least one is.

    Args:
        epoch: from 1 on.
        epochs: in float, at least as many as steps.
        steps: in all.
    """
    span = max(steps, math.ceil(_SPAN * epochs))
    return min(steps, 1 + (epoch - 1) * steps // span)


def steps_domain(steps: int | tuple[int, int]) -> dict[str, Any]:
    """The key of a space for a number of steps or a range of it; none for a single one."""
    found = integers("steps", steps)
    return {} if found == 1 and isinstance(found, int) else {"steps": found}


def decode_steps(value: Any, where: str) -> int:
    """The number of steps of a config.

    Raises:
        UserError: it is no whole number from 1 on.
    """
    steps = as_integer(value, where)
    if steps < 1:
        raise UserError(f"{where} is {steps}: it must be at least 1")
    return steps
