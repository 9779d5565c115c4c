"""Inserting fake quantisers into a captured graph: on weights, on biases, on tensors between layers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import cast

from torch import Tensor, fx

from raysearch.basics.failures import UserError
from raysearch.networks import operators
from raysearch.networks.operators import Layer, layer_of
from raysearch.networks.unlifting import finished, hold_module
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization.composites import split_composites
from raysearch.trainables.quantization.quantizer import FLOAT, INTEGER_BITS, BiasQuantizer, Quantizer
from raysearch.trainables.quantization.reading import Reading

_EIGHT = INTEGER_BITS[-1]


def insert_quantizers(
    graph_module: fx.GraphModule,
    bits: BitWidthPlan,
    exclude: Sequence[str] = (),
    weight_bits: int = _EIGHT,
    unsigned_bits: int = _EIGHT,
) -> fx.GraphModule:
    """A copy with fake quantisation, to be calibrated next.

    The same graph and bits give the same names and order of parameters every time. Activations are unsigned
    where they cannot be negative, and signed ones are shifted by 128 in a file, as CPUs fuse them.

    Args:
        graph_module: captured, with batch norm folded (``fold_batch_norm``).
        bits: of each layer's weights and input.
        exclude: layers, or parts with all their layers, that stay in float whatever ``bits`` says.
        weight_bits: that the integers of weights fit in; see ``Backend.weight_bits``.
        unsigned_bits: that those of activations without a sign fit in: 7 where signed bytes will hold them.

    Raises:
        UserError: the network has a module under a quantiser's name.
    """
    quantized = copy.deepcopy(graph_module)
    split_composites(quantized.graph)
    reading = Reading(quantized.graph, bits, exclude)
    layers = [
        (node, layer, *reading.layer_bits(node))
        for node in quantized.graph.nodes
        if (layer := layer_of(node))
    ]
    _round_activations(quantized, reading, unsigned_bits)
    for node, layer, held, _ in layers:
        if held < FLOAT:
            _round_weights(quantized, node, layer, held, weight_bits)
    for node, layer, held, _ in layers:
        if held <= _EIGHT:
            _round_bias(quantized, node, layer)
    return finished(quantized).eval()


def quantizer_of(graph_module: fx.GraphModule, node: object) -> Quantizer | None:
    """The quantiser that a node calls; None for any other node."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    module = graph_module.get_submodule(str(node.target))
    return module if isinstance(module, Quantizer) else None


def _round_activations(graph_module: fx.GraphModule, reading: Reading, unsigned_bits: int) -> None:
    """Quantise every tensor in the bits that its readers ask for."""
    # All is decided on the graph as it was given, and inserted afterwards.
    tensors = [n for n in reading.graph.nodes if operators.is_float(n) and n.op != "get_attr"]
    readers = {t: [(user, reading.asked(user, t)) for user in t.users] for t in tensors}
    roots = {t: reading.root(t) for t in tensors}
    within = {t: unsigned_bits if reading.nonnegative(roots[t]) else None for t in tensors}
    ends = reading.rounded_at_the_end()
    for tensor, asked in readers.items():
        levels = {b for _, bits in asked for b in bits if b < FLOAT}
        always = ends.get(tensor)
        if always is not None and not levels & set(INTEGER_BITS):
            levels.add(always)
        if not levels:
            continue
        nodes = _attach(graph_module, tensor, roots[tensor], sorted(levels, reverse=True), within[tensor])
        for user, bits in asked:
            # A view that somebody reads in float stays in float; else it takes the finest asked of it.
            given = nodes.get(max(bits)) or (nodes[max(levels & set(INTEGER_BITS))] if always else None)
            if given is not None:
                user.replace_input_with(tensor, given)


def _attach(
    graph_module: fx.GraphModule, tensor: fx.Node, root: fx.Node, levels: list[int], unsigned: int | None
) -> dict[int, fx.Node]:
    """Insert a tensor's quantisers, by bits, the finest first.

    Coarser integers read finer ones: what gives the tensor is fused with a single reader only. A tensor and
    the views of it share their quantisers. ``unsigned`` is what integers without a sign fit in, None where
    values may be negative.
    """
    nodes: dict[int, fx.Node] = {}
    source = last = tensor
    for bits in levels:
        name = f"quantize_{root.name}_{bits}"
        if not hasattr(graph_module, name):
            signed, bound = unsigned is None, operators.upper_bound(root)
            quantizer = Quantizer(bits, signed=signed, bound=bound, within=unsigned or _EIGHT)
            graph_module.add_module(name, quantizer)
        elif not isinstance(getattr(graph_module, name), Quantizer):
            raise UserError(f"the model has a module named {name!r}, which its quantiser needs: rename it")
        with graph_module.graph.inserting_after(last):
            last = nodes[bits] = graph_module.graph.call_module(name, (source,))
        last.meta = dict(tensor.meta, dropout=False)
        if bits <= _EIGHT:
            source = last
    return nodes


def _round_weights(graph_module: fx.GraphModule, node: fx.Node, layer: Layer, bits: int, within: int) -> None:
    """Quantise the weights that an operator reads; one that several read is quantised once."""
    weight = cast(fx.Node, node.args[layer.weight])
    name = f"{weight.target}_quantizer"
    known = next((u for u in weight.users if u.op == "call_module" and u.target == name), None)
    if known is None:
        tensor = graph_module.get_parameter(str(weight.target))
        quantizer = Quantizer(bits, channels=_slices(tensor, layer), axis=layer.axis or 0, within=within)
        if quantizer.integer:
            quantizer.fit(tensor)
        hold_module(graph_module, name, quantizer)
        with graph_module.graph.inserting_after(weight):
            known = graph_module.graph.call_module(name, (weight,))
        known.meta = dict(weight.meta)
    node.update_arg(layer.weight, known)


def _slices(weight: Tensor, layer: Layer) -> int:
    return 1 if layer.axis is None else weight.shape[layer.axis]


def _round_bias(graph_module: fx.GraphModule, node: fx.Node, layer: Layer) -> None:
    """Round the bias of a layer whose input and weights are integers."""
    source = quantizer_of(graph_module, node.args[layer.input])
    bias = node.args[layer.bias] if layer.bias is not None and len(node.args) > layer.bias else None
    if source is None or not source.integer or not isinstance(bias, fx.Node) or bias.op != "get_attr":
        return
    name = f"{bias.target}_quantizer"
    calls = Counter(str(n.target) for n in graph_module.graph.nodes if n.op == "call_module")
    while calls[name]:  # a layer that is called again, with another input
        name = f"{name}_again"
    repeats = operators.groups_of(node) if layer.axis == 1 else 1
    hold_module(graph_module, name, BiasQuantizer(source.largest_step, repeats))
    scales = [f"{cast(fx.Node, node.args[place]).target}.scale" for place in (layer.input, layer.weight)]
    with graph_module.graph.inserting_before(node):
        rounded = graph_module.graph.call_module(name, (bias, *map(graph_module.graph.get_attr, scales)))
    rounded.meta = dict(bias.meta)
    node.update_arg(cast(int, layer.bias), rounded)
