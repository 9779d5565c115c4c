"""Networks of NNI's hub spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from raysearch.basics.nni_compat import load_nni
from raysearch.search_spaces.architectures.nni_hub import HubSpace


class NNIHub:
    """Makes networks of one of NNI's hub spaces (extra ``nni``), for ``Task(model=...)``.

    The task's parent is ``first``, or any other of the space, and the study's architecture is
    ``search_spaces.nni_hub`` with the same name and arguments.

    Args:
        name: of the space, such as "ProxylessNAS".
        arguments: of NNI's class of that name, such as ``num_labels=10``.

    Raises:
        UserError: NNI is not installed, or has no such space, or the arguments are not that space's.
    """

    def __init__(self, name: str, **arguments: Any) -> None:
        self._space = HubSpace(name, arguments)

    @property
    def first(self) -> dict[str, Any]:
        """The architecture of the first value of each choice: for the shallowest network, mostly."""
        return self._space.first()

    def __call__(self, architecture: Mapping[str, Any] | None = None) -> nn.Module:
        """A fresh network, ``first`` where no architecture is given.

        Raises:
            UserError: the architecture is not in the space.
        """
        sample = self._space.sample(self.first if architecture is None else architecture)
        with load_nni("nni.nas.space").model_context(sample):
            network: nn.Module = self._space.make()
        return network
