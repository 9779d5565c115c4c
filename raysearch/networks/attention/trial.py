"""Whether heads that are removed are the same as heads that nothing reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.networks import nests
from raysearch.networks.attention.heads import (
    Attention,
    remove_heads,
    run,
    split_heads,
    take_plain_tensors,
)
from raysearch.networks.copying import copy_of
from raysearch.networks.nests import Nest

_TOLERANCE = 1e-4  # of the largest output


def sound_heads(
    model: nn.Module, example_input: Nest, found: Mapping[str, Attention]
) -> dict[str, Attention]:
    """Those of the attentions whose heads can go.

    Each is tried on copies with random projections: without every other head, it and the model must give what
    they give where these heads are there and are not read.

    Args:
        model: left as it is.
        example_input: a batch that the model takes.
        found: what ``attentions`` found.
    """
    if _is_exact(model, example_input, found.values()):
        return dict(found)
    return {name: a for name, a in found.items() if _is_exact(model, example_input, [a])}


def _is_exact(model: nn.Module, example_input: Nest, found: Collection[Attention]) -> bool:
    """Whether removing every other head of some attentions is the same as not reading it."""
    if not found:
        return True
    masked = copy_of(model)
    take_plain_tensors(masked)
    generator = torch.Generator().manual_seed(0)
    for attention in found:  # as they are, projections may be zeros, or branches scaled to nothing
        for part in attention.slices:
            _randomize(masked.get_parameter(part.parameter), generator)
    pruned = copy_of(masked)
    try:
        for attention in found:
            gone = list(range(0, attention.count, 2))[: attention.count - 1]
            remove_heads(pruned, attention, gone)
            read = attention.slices[-1]
            weight = masked.get_parameter(read.parameter).detach()
            split_heads(weight, read, attention.count)[:, :, gone] = 0
        outputs = [_watched(m, example_input, found) for m in (masked, pruned)]
    except Exception:  # whatever a user's code raises where the number of heads is another one
        return False
    return all(_close(a, b) for a, b in zip(*outputs, strict=False)) and len(outputs[0]) == len(outputs[1])


def _randomize(parameter: Tensor, generator: torch.Generator) -> None:
    spread = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1
    drawn = torch.randn(parameter.shape, generator=generator) * spread
    with torch.no_grad():
        parameter.copy_(drawn)


def _watched(model: nn.Module, example_input: Nest, found: Iterable[Attention]) -> list[Tensor]:
    """What a model gives, and before it what some attentions give."""
    given: list[Any] = []
    hooks = []
    for attention in found:
        module = model.get_submodule(attention.module)
        own = isinstance(module, nn.MultiheadAttention)
        read = module if own else model.get_submodule(attention.out)
        hooks.append(read.register_forward_hook(lambda _, __, out: given.append(nests.tensors(out)[0])))
    try:
        outputs = run(model, example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return [*given, *outputs]


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    return bool((a - b).abs().max() <= _TOLERANCE * a.abs().max()) if a.numel() else True
