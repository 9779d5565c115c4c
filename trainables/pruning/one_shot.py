"""Compress a trained network at once, without training it again: zeros, and int8 linear layers.

Zeros stay where they are: shapes do not change, so dense kernels are no faster for them. To remove channels,
see removal.py.
"""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from raysearch.basics.failures import UserError
from raysearch.networks.copying import copy_of
from raysearch.search_spaces.pruning.one_shot import LayerPruning, OneShotPlan
from raysearch.trainables.data.batches import Examples, batches, count
from raysearch.trainables.evaluation import Metric, evaluate
from raysearch.trainables.task import accuracy

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LAYERS = (nn.Linear, *_CONVOLUTIONS)


def compress(module: nn.Module, plan: OneShotPlan, seed: int = 0) -> tuple[nn.Module, float]:
    """A compressed copy of a trained network.

    Args:
        module: is left as it is.
        plan: what is pruned and whether linear layers are quantised.
        seed: of random pruning.

    Returns:
        The copy, in evaluation mode and on the CPU, and its rate of non-zero weights before quantisation.
    """
    module = copy_of(module).cpu().eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _prune(module, plan)
    rate = nonzero_rate(module)
    return _quantized(module) if plan.quantization == "dynamic" else module, rate


def measure_compressed(
    module: nn.Module,
    plan: OneShotPlan,
    examples: Examples,
    metric: Metric = accuracy,
    *,
    seed: int = 0,
    timed: bool = False,
) -> dict[str, float]:
    """Compress a trained network and measure it.

    Args:
        module: is left as it is.
        plan: what is pruned and whether linear layers are quantised.
        examples: what the metric is taken on.
        metric: of logits (n, classes) and labels (n,).
        seed: of random pruning.
        timed: whether the time of a pass over all examples is measured too.

    Returns:
        "nonzero_rate", "accuracy" and, where asked for, "inference_ms".
    """
    compressed, rate = compress(module, plan, seed)
    values = {"nonzero_rate": rate, **evaluate(compressed, examples, {"accuracy": metric})}
    if timed:
        inputs, _ = next(batches(examples, count(examples)))
        values["inference_ms"] = inference_ms(compressed, inputs)
    return values


def nonzero_rate(module: nn.Module) -> float:
    """The share of weights and biases of linear and convolutional layers that are not 0, in [0, 1].

    Raises:
        ValueError: there is no such layer.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _LAYERS)]
    tensors = [t for layer in layers for t in (layer.weight, layer.bias) if t is not None]
    if not tensors:
        raise UserError("the network has no linear or convolutional layer: nothing can be pruned")
    return sum(int(t.count_nonzero()) for t in tensors) / sum(t.numel() for t in tensors)


def inference_ms(module: nn.Module, inputs: Tensor, repeats: int = 20) -> float:
    """The median wall-clock time of one pass over the inputs (n, ...), in milliseconds, after two to warm up.

    A coarse figure for a table; raysearch.backends measures latency under a protocol.
    """
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 2):
            start = time.perf_counter()
            module(inputs)
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def _prune(module: nn.Module, plan: OneShotPlan) -> None:
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            # The last linear layer's rows are the classes: it loses inputs instead.
            _prune_layer(layer, plan.linear, dim=1 if layer is linear[-1] else 0)
        elif isinstance(layer, _CONVOLUTIONS):
            _prune_layer(layer, plan.convolutional, dim=0)


def _prune_layer(layer: Any, how: LayerPruning, dim: int) -> None:
    """Zero a share of one layer; structured pruning takes whole slices of its weight along ``dim``."""
    method: Any
    if how.pruned == "nothing":
        return
    amount = float(how.amount)  # torch reads a whole number as a count
    biases = how.pruned == "weights_and_biases" and layer.bias is not None
    if how.criterion == "l2_structured":
        prune.ln_structured(layer, "weight", amount, n=2, dim=dim)  # type: ignore[no-untyped-call]
        if biases and dim == 0:
            kept = layer.weight_mask.flatten(1).any(1)
            prune.custom_from_mask(layer, "bias", kept)  # type: ignore[no-untyped-call]
    else:
        method = prune.random_unstructured if how.criterion == "random" else prune.l1_unstructured
        for name in ("weight", "bias") if biases else ("weight",):
            method(layer, name, amount)
    for name in ("weight", "bias"):
        if hasattr(layer, f"{name}_mask"):
            prune.remove(layer, name)  # type: ignore[no-untyped-call]


def _quantized(module: nn.Module) -> nn.Module:
    """Torch's dynamic quantisation of the linear layers: int8 weights, inputs scaled batch by batch."""
    from torch.ao.quantization import quantize_dynamic

    with warnings.catch_warnings():
        # Deprecated in favour of a package of its own, and what the published study used.
        warnings.simplefilter("ignore")
        return quantize_dynamic(module, {nn.Linear}, torch.qint8)  # type: ignore[no-any-return, no-untyped-call]
