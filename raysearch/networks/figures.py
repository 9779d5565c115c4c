"""What a captured network costs for one input, read from its graph: multiply-accumulates, weights, memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor, fx

from raysearch.networks import operators
from raysearch.networks.capture import signature
from raysearch.networks.functional import is_view
from raysearch.networks.operators import name_of, value_of


def sizes(graph_module: fx.GraphModule, value: Tensor) -> tuple[int, ...]:
    """A tensor's shape for one input; other axes that vary are as in the example of the capture."""
    batch = signature(graph_module).batch
    return tuple(size if isinstance(size, int) else _at_one(size.node, batch) for size in value.shape)


def _at_one(node: Any, batch: Any) -> int:
    known = {**node.shape_env.backed_var_to_val, batch: 1}
    return int(node.expr.subs({symbol: known[symbol] for symbol in node.expr.free_symbols}))


def macs(graph_module: fx.GraphModule) -> int:
    """Multiply-accumulates of convolutions, matrix products and recurrent layers, quantised ones included."""

    def shape(node: Any) -> tuple[int, ...]:
        value = value_of(node)
        return () if value is None else sizes(graph_module, value)

    return sum(_macs(node, shape) for node in graph_module.graph.nodes if node.op == "call_function")


def params(graph_module: fx.GraphModule) -> int:
    """Number of weights and biases, however many bits each has; steps of quantisers are not counted."""
    return sum(graph_module.get_parameter(name).numel() for name in weights(graph_module))


def weights(graph_module: fx.GraphModule) -> list[str]:
    """The names of the parameters that the network computes with, without steps of quantisers."""
    steps = {f"{n.target}.scale" for n in graph_module.graph.nodes if n.op == "call_module"}
    return [name for name, _ in graph_module.named_parameters() if name not in steps]


def _macs(node: fx.Node, shape: Callable[[Any], tuple[int, ...]]) -> int:
    name = name_of(node)
    if name.startswith("conv"):
        outputs = shape(node.args[0] if "transpose" in name else node)
        return math.prod(outputs) * math.prod(shape(node.args[1])[1:])
    if name in ("linear", "matmul", "mm", "bmm"):
        return math.prod(shape(node)) * shape(node.args[0])[-1]
    if name in ("addmm", "baddbmm"):
        return math.prod(shape(node)) * shape(node.args[1])[-1]
    if name == "scaled_dot_product_attention":
        query, key, value = (shape(a) for a in node.args[:3])
        return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    if name == "einsum":
        return _einsum_macs(cast(str, node.args[0]), [shape(a) for a in cast(Any, node.args[1])])
    if name in operators.CELLS:
        return math.prod(shape(node.args[0])[:-1]) * sum(math.prod(shape(w)) for w in node.args[2:4])
    if name in operators.RECURRENT:
        steps = math.prod(shape(node.args[0])[:-1])
        held = [shape(p) for p in cast(Any, node.args[2])]
        return steps * sum(math.prod(s) for s in held if len(s) == 2)
    return 0


def _einsum_macs(equation: str, shapes: list[tuple[int, ...]]) -> int:
    """Of two operands: the product of the sizes of all letters."""
    if len(shapes) != 2 or "." in equation:
        return 0
    letters = equation.replace(" ", "").partition("->")[0].split(",")
    known: dict[str, int] = {}
    for word, shape in zip(letters, shapes, strict=True):
        known.update(zip(word, shape, strict=True))
    return math.prod(known.values())


def peak_memory_mb(graph_module: fx.GraphModule, bits: Mapping[str, int] | None = None) -> float:
    """Weights plus the largest sum of tensors alive at once, in megabytes (1e6 bytes), for one input.

    Each tensor counts in its own type. Views and activations that work in place cost nothing.

    Args:
        graph_module: folded, with quantisers or without.
        bits: in which tensors are held, by node's name for those that are rounded, and by parameter's name
            for weights; the others, or all where it is left out, in their own type. Rounding is taken as
            fused into its neighbours: what is rounded counts, the float tensor that only it reads does not.
    """
    held = bits or {}
    total = sum(_bytes(p, p.shape, held.get(name)) for name, p in _tensors(graph_module))
    return (total + _peak(graph_module, held)) / 1e6


def _tensors(graph_module: fx.GraphModule) -> list[tuple[str, Tensor]]:
    named = [(name, graph_module.get_parameter(name)) for name in weights(graph_module)]
    return named + list(graph_module.named_buffers())


def _bytes(tensor: Tensor, shape: Any, bits: int | None) -> int:
    return math.ceil(int(math.prod(shape)) * (bits or 8 * tensor.element_size()) / 8)


def _peak(graph_module: fx.GraphModule, bits: Mapping[str, int]) -> int:
    """The largest sum of bytes of buffers that are alive during one node."""
    buffer, size = _buffers(graph_module, bits)
    nodes = [node for node in graph_module.graph.nodes if node.op != "placeholder"]
    last_use = {buffer[n]: i for i, node in enumerate(nodes) for n in node.all_input_nodes if n in buffer}
    alive = {buffer[n] for n in graph_module.graph.find_nodes(op="placeholder") if n in buffer}
    peak = sum(size[b] for b in alive)
    for i, node in enumerate(nodes):
        if node in buffer:
            alive.add(buffer[node])
        peak = max(peak, sum(size[b] for b in alive))
        alive = {b for b in alive if last_use.get(b, -1) > i}
    return peak


def _buffers(
    graph_module: fx.GraphModule, bits: Mapping[str, int]
) -> tuple[dict[fx.Node, fx.Node], dict[fx.Node, int]]:
    """The buffer of each tensor, and each buffer's bytes (of what is stored: rounded, where it is)."""
    buffer: dict[fx.Node, fx.Node] = {}
    size: dict[fx.Node, int] = {}
    for node in graph_module.graph.nodes:
        held = _held(graph_module, node, bits)
        if held is None or (node.op != "placeholder" and not any(n in buffer for n in node.all_input_nodes)):
            continue  # no tensor, or one that is computed from constants alone
        first = node.all_input_nodes[0] if node.all_input_nodes else None
        # A caller's input is given as it is: nothing is stored in its place in another form.
        shares = (
            first in buffer
            and len(first.users) == 1
            and buffer[first].op != "placeholder"
            and (node.op == "call_module" or is_view(node) or _in_place(node))
        )
        buffer[node] = buffer[cast(fx.Node, first)] if shares else node
        if not shares:
            size[node] = held
        elif node.op == "call_module":
            size[buffer[node]] = min(held, size[buffer[node]])
    return buffer, size


def _held(graph_module: fx.GraphModule, node: fx.Node, bits: Mapping[str, int]) -> int | None:
    """The bytes of what a node gives; None for what is no tensor, or is held already as a weight."""
    value = node.meta.get("val")
    values = value if isinstance(value, (tuple, list)) else (value,)
    tensors = [v for v in values if isinstance(v, Tensor)]
    if not tensors or node.op in ("get_attr", "output"):
        return None
    return sum(_bytes(t, sizes(graph_module, t), bits.get(node.name)) for t in tensors)


def _in_place(node: fx.Node) -> bool:
    return name_of(node) == "relu" or operators.upper_bound(node) is not None
