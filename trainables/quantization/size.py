"""Sizes counted from bits, whatever container a runtime keeps the weights in."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, fx, nn

from raysearch.trainables.quantization.insert import quantizer_of
from raysearch.trainables.quantization.quantizer import Quantizer

_BITS_PER_MEGABYTE = 8e6


def size_mb(module: nn.Module, pattern: str = "none") -> float:
    """The weights' size in megabytes: each with the bits of its quantiser, or else of its type.

    Steps of quantisers are left out: a few for each layer, and folded into others by some runtimes.

    Args:
        module: folded, with quantisers or without.
        pattern: of its zeros. "unstructured": matrices and kernels are stored as the weights that are not
            zero and a bit for each weight that says which; "2:4": as half of the weights, with two bits of
            place each, where their zeros are so. What is smaller whole is stored whole.
    """
    total = 0.0
    for _, weight, quantizer in _weights(module):
        bits = quantizer.bits if quantizer else 8 * weight.element_size()
        whole = weight.numel() * bits
        total += min(whole, _stored(weight, bits, pattern)) if weight.dim() > 1 else whole
    return total / _BITS_PER_MEGABYTE


def _stored(weight: Tensor, bits: int, pattern: str) -> float:
    """The bits that a weight takes without its zeros."""
    if pattern == "unstructured":
        return int(weight.count_nonzero()) * bits + weight.numel()
    if pattern == "2:4" and weight.shape[1] % 4 == 0:
        fours = weight.transpose(0, 1).reshape(-1, 4, weight.numel() // weight.shape[1])
        if int(fours.count_nonzero(dim=1).max()) <= 2:
            return weight.numel() / 2 * (bits + 2)
    return weight.numel() * bits


def nonzero_rate(module: nn.Module) -> float:
    """The share of the weights (matrices and kernels, after rounding) that are not zero, 0..1."""
    weights = [q(w) if q else w for _, w, q in _weights(module) if w.dim() > 1]
    total = sum(w.numel() for w in weights)
    return sum(int(w.count_nonzero()) for w in weights) / total if total else 1.0


def held_bits(graph_module: fx.GraphModule) -> dict[str, int]:
    """In how many bits a file holds what is rounded: tensors by their node's name, weights by their own.

    Fewer than eight bits are held in eight.
    """
    found = {
        name: _container(quantizer.bits)
        for name, _, quantizer in _weights(graph_module)
        if quantizer is not None
    }
    for node in graph_module.graph.nodes:
        quantizer = quantizer_of(graph_module, node)
        if quantizer is not None and quantizer.channels is None:
            found[node.name] = _container(quantizer.bits)
    return found


def _container(bits: int) -> int:
    return max(8, bits)


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor, Quantizer | None]]:
    """Every parameter but the quantisers' own, with the quantiser that stands beside it, if any does."""
    quantizers = {n: m for n, m in module.named_modules() if isinstance(m, Quantizer)}
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[0] not in quantizers:
            yield name, parameter, quantizers.get(f"{name}_quantizer")
