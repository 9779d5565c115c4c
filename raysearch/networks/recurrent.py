"""Recurrent layers as one operator each while a network is read, however long their sequences are.

Torch finds the shapes of such an operator by a loop over the time steps, which makes a constant of their
number. Operators of our own stand in its place until the network has been read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.modules import rnn

_TORCH: Any = torch._VF
_REST = (
    "Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, "
    "bool batch_first"
)
_BIDIRECTIONAL = 5  # its place in there
# Not those of nn.RNN: a file unrolls it, step by step.
_SCHEMAS = {
    "lstm": f"(Tensor x, Tensor[] hx, {_REST}) -> (Tensor, Tensor, Tensor)",
    "gru": f"(Tensor x, Tensor hx, {_REST}) -> (Tensor, Tensor)",
}


def _operator(name: str) -> Any:
    """The operator that stands for one of torch's."""

    def compute(*args: Any) -> Any:
        return getattr(_TORCH, name)(*args)

    def shapes(x: Tensor, hx: Any, *rest: Any) -> tuple[Tensor, ...]:
        states = [hx] if isinstance(hx, Tensor) else hx
        width = states[0].shape[-1] * (2 if rest[_BIDIRECTIONAL] else 1)
        return (x.new_empty(*x.shape[:-1], width), *map(torch.empty_like, states))

    own = torch.library.custom_op(f"raysearch::{name}", compute, mutates_args=(), schema=_SCHEMAS[name])
    own.register_fake(shapes)
    return getattr(torch.ops.raysearch, name).default


_OWN = {name: _operator(name) for name in _SCHEMAS}
_ATEN = {own: getattr(torch.ops.aten, name).input for name, own in _OWN.items()}


class _Functions:
    """Torch's functions behind recurrent layers, those of padded sequences as operators of our own."""

    def __getattr__(self, name: str) -> Any:
        theirs, own = getattr(_TORCH, name), _OWN.get(name)
        if own is None:
            return theirs
        # Of a packed sequence the sizes of its batches come second, and so the flags one place later.
        return lambda *args: (own if isinstance(args[3], bool) else theirs)(*args)


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Read recurrent layers as one operator each."""
    module: Any = rnn
    module._VF = _Functions()
    try:
        yield
    finally:
        module._VF = _TORCH


def restore(graph: fx.Graph) -> None:
    """Put torch's operators back into the graph that was read."""
    for node in graph.nodes:
        node.target = _ATEN.get(node.target, node.target)
