"""Training an exit and the end of a network together.

The loss of outputs is the weighted mean of that of the exit and that of the end [1]; a teacher teaches both.

[1] S. Teerapittayanon, B. McDanel, H. T. Kung. BranchyNet: fast inference via early exiting from deep neural
    networks. ICPR 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from raysearch.networks.exits import Exits
from raysearch.networks.nests import Nest

Compare = Callable[..., Tensor]


def over_exits(loss: Compare, weight: float) -> Compare:
    """A loss of outputs and whatever else, also of ``Exits``.

    Args:
        loss: of one output; its first argument are the outputs.
        weight: of the exit's, > 0; that of the end's is 1.
    """

    def both(outputs: Nest, *others: Any) -> Tensor:
        if not isinstance(outputs, Exits):
            return loss(outputs, *others)
        early, last = (loss(each, *others) for each in outputs)
        return (last + weight * early) / (1 + weight)

    return both
