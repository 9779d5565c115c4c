"""Nests of tensors: what networks take and give, and what tasks pair it with.

A nest is a tensor, or a tuple, list, mapping or dataclass of nests (also an output class that torch's pytree
knows, such as those of Hugging Face's transformers). Whatever else stands in one (None, numbers, strings) is
kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import register_dataclass
from torch.utils import _pytree as pytree

from raysearch.basics.failures import UserError

Nest = Any


def tensors(nest: Nest) -> list[Tensor]:
    """The tensors of a nest, in their order."""
    return [leaf for leaf in pytree.tree_leaves(nest) if isinstance(leaf, Tensor)]


def map_tensors(function: Callable[[Tensor], Tensor], nest: Nest) -> Nest:
    """The same nest with every tensor replaced."""
    return pytree.tree_map_only(Tensor, function, nest)


def to_device(nest: Nest, device: torch.device | str | None) -> Nest:
    """The nest with every tensor on a device; None leaves it where it is.

    To a GPU tensors go through pinned memory, from which the copy does not hold up the program; the other way
    it waits, since the values may be read at once.
    """
    if device is None:
        return nest
    if torch.device(device).type != "cuda":
        return map_tensors(lambda t: t.to(device), nest)
    return map_tensors(lambda t: _pinned(t).to(device, non_blocking=True), nest)


def batch_size(nest: Nest) -> int:
    """How many examples a batch holds: the size of axis 0 of its first tensor that has one.

    Raises:
        ValueError: no tensor of the nest has an axis.
    """
    for tensor in tensors(nest):
        if tensor.dim():
            return len(tensor)
    raise UserError("the batch holds no tensor with an axis, so its size is not known")


def concatenate(batches: Sequence[Nest]) -> Nest:
    """Batches of one form as a single one, joined along axis 0; scalars are stacked.

    Args:
        batches: at least one. What is no tensor is taken from the first.
    """
    leaves, spec = pytree.tree_flatten(batches[0])
    columns = zip(*(pytree.tree_leaves(b) for b in batches), strict=True)
    joined = [_joined(column) if isinstance(column[0], Tensor) else column[0] for column in columns]
    return pytree.tree_unflatten(joined if leaves else [], spec)


def call(model: Callable[..., Any], inputs: Nest) -> Nest:
    """Run a model: a tuple or list is its positional arguments, a mapping its keywords, else the only one."""
    args, kwargs = arguments(inputs)
    outputs = model(*args, **kwargs)
    see_into(outputs)
    return outputs


def see_into(nest: Nest) -> bool:
    """Tell torch of the dataclasses in a nest that it does not know; whether there were any."""
    unknown = {type(leaf) for leaf in pytree.tree_leaves(nest) if is_dataclass(leaf)}
    for kind in unknown:
        register_dataclass(kind)
    if unknown:
        see_into(nest)  # others may stand inside
    return bool(unknown)


def arguments(inputs: Nest) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments that a model is called with."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}


def names(nest: Nest, single: str) -> list[str]:
    """A name for each tensor of a nest, its keys and places joined by "_"; ``single`` for a lone tensor."""
    if isinstance(nest, Tensor):
        return [single]
    paths = [path for path, leaf in pytree.tree_leaves_with_path(nest) if isinstance(leaf, Tensor)]
    found = ["_".join(_word(key) for key in path) for path in paths]
    return [f"{single}_{name}" if name[:1].isdigit() else name for name in found]


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are; the CPU where it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _pinned(tensor: Tensor) -> Tensor:
    """A tensor in pinned memory; one that is on a GPU already, or is sparse, as it is."""
    return tensor.pin_memory() if tensor.device.type == "cpu" and tensor.layout is torch.strided else tensor


def _joined(column: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(column)) if column[0].dim() else torch.stack(list(column))


def _word(key: Any) -> str:
    """One step of a path through a nest as text."""
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
