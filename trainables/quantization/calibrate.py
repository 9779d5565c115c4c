"""Choosing the steps of activations from data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from raysearch.basics.failures import UserError
from raysearch.networks import nests
from raysearch.networks.nests import Nest
from raysearch.trainables.quantization.quantizer import Quantizer
from raysearch.trainables.quantization.throughout import end_of, integer_operands, integer_quantizer

_LARGEST_MULTIPLIER = 255.0  # of a layer's sums, to become integers of its output


@torch.no_grad()
def calibrate(graph_module: fx.GraphModule, batches: Iterable[Nest]) -> None:
    """Set the step of each activation quantiser: the mean over the batches of the one that suits each.

    While it observes, activations pass unrounded; weights are rounded. The module is left in evaluation mode.

    Args:
        graph_module: from ``insert_quantizers``.
        batches: inputs, at least one batch.

    Raises:
        UserError: there is no batch.
    """
    graph_module.eval()
    steps: dict[Quantizer, list[Tensor]] = {}
    of_batch: dict[Quantizer, Tensor] = {}

    def observe(quantizer: Quantizer, arguments: tuple[Tensor], _: Any) -> Tensor:
        step = quantizer.fit(arguments[0])
        # One that several tensors share must hold the widest of them.
        of_batch[quantizer] = torch.maximum(step, of_batch.get(quantizer, step))
        return arguments[0]

    observed = [m for m in graph_module.modules() if isinstance(m, Quantizer) and _learns_from_data(m)]
    hooks = [module.register_forward_hook(observe) for module in observed]
    seen = 0
    try:
        for inputs in batches:
            seen += 1
            nests.call(graph_module, nests.to_device(inputs, nests.device_of(graph_module)))
            for quantizer, step in of_batch.items():
                steps.setdefault(quantizer, []).append(step)
            of_batch.clear()
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise UserError("batches holds none: calibration needs at least one batch to choose steps from")
    for quantizer, found in steps.items():
        quantizer.scale.copy_(torch.stack(found).mean(0))
    widen_steps(graph_module)


@torch.no_grad()
def widen_steps(graph_module: fx.GraphModule) -> None:
    """Make each layer's output have a step of more than a 256th of what its sums count in, in place.

    Steps are found smaller only where all values were zero. They say nothing then, and kernels (XNNPACK's)
    that multiply sums by less than 256 fail.
    """
    for node in graph_module.graph.nodes:
        steps = [quantizer.step().max() for quantizer in integer_operands(graph_module, node)]
        for user in end_of(node).users if len(steps) == 2 else ():
            if quantizer := integer_quantizer(graph_module, user):
                least = steps[0] * steps[1] / _LARGEST_MULTIPLIER
                quantizer.scale.copy_(quantizer.scale.abs().clamp_min(least))


def _learns_from_data(quantizer: Quantizer) -> bool:
    return quantizer.integer and quantizer.channels is None
