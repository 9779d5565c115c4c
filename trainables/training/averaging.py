"""An average of the weights over the steps of a training, in which later ones count more.

References:
    Polyak, B. T., & Juditsky, A. B. (1992). Acceleration of stochastic approximation by averaging.
    Tarvainen, A., & Valpola, H. (2017). Mean teachers are better role models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raysearch.networks.copying import copy_of


class WeightAverage:
    """The exponential moving average of a network's weights.

    The statistics of batch norm, and all other buffers of floats, are averaged like the weights that they
    belong to; those of integers are the network's own.

    Args:
        module: the network; it is left as it is.
        decay: in (0, 1), the average's share of itself at each step; at the first one it is the network.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._averaged = AveragedModel(copy_of(module), multi_avg_fn=average, use_buffers=True)

    @property
    def module(self) -> nn.Module:
        """A network with the average's weights."""
        return self._averaged.module

    def update(self, module: nn.Module) -> None:
        """Take in the network's weights after a step."""
        self._averaged.update_parameters(module)
        for own, given in zip(self.module.buffers(), module.buffers(), strict=True):
            if not own.is_floating_point():
                own.copy_(given)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return self._averaged.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._averaged.load_state_dict(state)
