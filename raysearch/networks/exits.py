"""What a network gives that need not be run to its end.

S. Teerapittayanon, B. McDanel, H. T. Kung. BranchyNet: fast inference via early exiting from deep neural
    networks. ICPR 2016.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Exits(NamedTuple):
    """The outputs of a network with an early exit: logits of the same classes, both of shape (n, classes).

    A network of a user's own leaves early where its forward gives this.

    Attributes:
        early: of the exit, which nothing behind it feeds.
        last: of the network's end.
    """

    early: Tensor
    last: Tensor
