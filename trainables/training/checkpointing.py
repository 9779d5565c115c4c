"""Computing activations again for the gradient, instead of keeping them.

References:
    Chen, T., Xu, B., Zhang, C., & Guestrin, C. (2016). Training deep nets with sublinear memory cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.split_module import split_module
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from raysearch.networks.capture import flat_inputs, is_captured, signature
from raysearch.networks.nests import Nest, call
from raysearch.trainables.training.distillation import Forward


def recomputing(network: nn.Module) -> Forward:
    """A forward pass of a network whose blocks keep their inputs alone, and are run again for the gradient.

    Of a network as people write it the blocks are its children; an nn.Sequential among them, or the network
    itself, is run in pieces of about the root of its length. A captured graph is run in such pieces too.
    Random numbers, the precision and all buffers are in the second run what they were in the first, and what
    the second run changes in a buffer is dropped: outputs, gradients and the statistics of batch norm are the
    same as without. Only what a layer keeps outside its buffers would be changed twice, and torch refuses the
    gradient of a block that overwrites its input. Memory is saved where blocks hold several layers.

    Args:
        network: to be trained; any other module, and all where no gradient is computed, are run as they are.
    """
    if isinstance(network, fx.GraphModule) and is_captured(network):
        return _of_graph(network)
    blocks = _blocks(network)

    def forward(module: nn.Module, inputs: Nest) -> Nest:
        if module is not network or not torch.is_grad_enabled():
            return call(module, inputs)
        with _replaced({block: _again(block) for block in blocks}):
            return call(module, inputs)

    return forward


def _of_graph(network: fx.GraphModule) -> Forward:
    """The same for a captured network, whose graph is split; its parameters and submodules are shared."""
    nodes = [n for n in network.graph.nodes if n.op in ("call_function", "call_module")]
    length = math.ceil(math.sqrt(len(nodes)))
    piece = {node: i // length for i, node in enumerate(nodes)}
    split = split_module(network, network, piece.__getitem__)
    out_spec, pieces = signature(network).out_spec, list(split.children())

    def forward(module: nn.Module, inputs: Nest) -> Nest:
        if module is not network or not torch.is_grad_enabled():
            return call(module, inputs)
        with _replaced({each: _again(each) for each in pieces}):
            outputs = split(*flat_inputs(network, inputs))
        return pytree.tree_unflatten(list(outputs), out_spec)

    return forward


def _blocks(network: nn.Module) -> list[nn.Module]:
    """The modules that are run again, as a whole or in pieces."""
    if _is_sequential(network):
        return [network]
    children = list(network.children())
    if len(children) == 1:
        return _blocks(children[0])
    return [block for child in children for block in _run_alone(child)]


def _run_alone(child: nn.Module) -> list[nn.Module]:
    """The child, or what it lists; without an activation, which keeps no more than it is given."""
    if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
        return [block for item in child.children() for block in _run_alone(item)]
    return [child] if any(True for _ in child.parameters()) else []


def _is_sequential(module: nn.Module) -> bool:
    return type(module).forward is nn.Sequential.forward


def _again(block: nn.Module) -> Callable[..., Any]:
    """A block's forward that keeps its inputs alone."""
    if not _is_sequential(block):
        return _kept_inputs([block], block.forward)
    pieces = [_kept_inputs(run, partial(_through, run)) for run in _pieces(list(block.children()))]

    def forward(x: Any) -> Any:
        for piece in pieces:
            x = piece(x)
        return x

    return forward


def _pieces(layers: list[nn.Module]) -> list[list[nn.Module]]:
    """About as many runs of layers as each has; none begins with one that overwrites what it is given."""
    length = math.ceil(math.sqrt(len(layers)))
    pieces: list[list[nn.Module]] = []
    for layer in layers:
        if not pieces or (len(pieces[-1]) >= length and not getattr(layer, "inplace", False)):
            pieces.append([])
        pieces[-1].append(layer)
    return pieces


def _through(layers: Sequence[nn.Module], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _kept_inputs(modules: Sequence[nn.Module], forward: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is run again for its gradient, with the buffers of modules as they were."""

    def contexts() -> Any:
        return nullcontext(), _AsBefore(modules)

    def kept(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        different = {id(leaf): leaf for leaf in leaves}
        places = [list(different).index(id(leaf)) for leaf in leaves]

        def run(*given: Any) -> Any:
            # One tensor is still one, for attention to itself.
            args, kwargs = pytree.tree_unflatten([given[place] for place in places], spec)
            return forward(*args, **kwargs)

        # Torch watches over tensors that it is given directly: none may be overwritten meanwhile.
        return checkpoint(run, *different.values(), use_reentrant=False, context_fn=contexts)

    return kept


class _AsBefore:
    """While it is entered, the buffers of modules are copies of what they were when it was made."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        inner = dict.fromkeys(m for module in modules for m in module.modules())
        self._kept = [(m, n, b.clone()) for m in inner for n, b in m._buffers.items() if b is not None]

    def __enter__(self) -> None:
        self._own: list[Tensor | None] = [module._buffers[name] for module, name, _ in self._kept]
        for module, name, value in self._kept:
            module._buffers[name] = value.clone()

    def __exit__(self, *_: object) -> None:
        for (module, name, _value), own in zip(self._kept, self._own, strict=True):
            module._buffers[name] = own


@contextmanager
def _replaced(forwards: dict[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Give modules another forward for a while."""
    own = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, before in own.items():
            if before is None:
                vars(module).pop("forward", None)
            else:
                module.forward = before
