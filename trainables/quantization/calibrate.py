"""Choosing the steps of activations from data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from raysearch.basics.failures import UserError
from raysearch.trainables.quantization.quantizer import Quantizer


@torch.no_grad()
def calibrate(graph_module: fx.GraphModule, batches: Iterable[Tensor]) -> None:
    """Set the step of each activation quantiser: the mean over the batches of the one that suits each.

    While it observes, activations pass unrounded; weights are rounded. The module is left in evaluation mode.

    Args:
        graph_module: from ``insert_quantizers``.
        batches: inputs (n, ...), at least one.

    Raises:
        ValueError: there is no batch.
    """
    observer = _Observer(graph_module.eval())
    device = next((p.device for p in graph_module.parameters()), torch.device("cpu"))
    for x in batches:
        observer.run(x.to(device))
    if not observer.batches:
        raise UserError("batches holds none: calibration needs at least one batch to choose steps from")
    for name, total in observer.steps.items():
        graph_module.get_parameter(f"{name}.scale").copy_(total / observer.seen[name])


class _Observer(fx.Interpreter):
    """Runs a graph with its activation quantisers fitted, but not applied."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.batches = 0
        self.steps: dict[str, Tensor] = {}
        self.seen: dict[str, int] = {}

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.batches += 1
        return super().run(*args, **kwargs)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.submodules[target]
        if not isinstance(module, Quantizer) or not module.integer:
            return super().call_module(target, args, kwargs)
        self.steps[target] = self.steps.get(target, torch.zeros_like(module.scale)) + module.fit(args[0])
        self.seen[target] = self.seen.get(target, 0) + 1
        return args[0]
