"""Sizes counted from bits, whatever container a runtime keeps the weights in."""

from __future__ import annotations

from torch import nn

from raysearch.trainables.quantization.quantizer import FLOAT, QuantizedLayer, Quantizer

_BITS_PER_MEGABYTE = 8e6


def size_mb(module: nn.Module) -> float:
    """The weights' size in megabytes: each with the bits of its layer, biases and all else with 32.

    Scales of quantisers are left out: a few for each layer, and folded into others by some runtimes.
    """
    return sum(_bits(m) for m in module.modules()) / _BITS_PER_MEGABYTE


def _bits(module: nn.Module) -> int:
    """Of the parameters that the module itself holds, less what a quantised layer saves on its weights."""
    if isinstance(module, Quantizer):
        return 0
    own = sum(p.numel() for p in module.parameters(recurse=False)) * FLOAT
    if isinstance(module, QuantizedLayer):
        own -= module.layer.weight.numel() * (FLOAT - module.quantizer.bits)
    return own


def nonzero_rate(module: nn.Module) -> float:
    """The share of the weights (matrices and kernels, after rounding) that are not zero, 0..1."""
    quantizers = {id(m.layer.weight): m.quantizer for m in module.modules() if isinstance(m, QuantizedLayer)}
    weights = [p for p in module.parameters() if p.dim() > 1]
    rounded = [quantizers[id(w)](w) if id(w) in quantizers else w for w in weights]
    total = sum(w.numel() for w in rounded)
    return sum(int(w.count_nonzero()) for w in rounded) / total if total else 1.0
