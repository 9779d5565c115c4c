"""Rounding as LiteRT does: what every layer in integers gives, and all that is joined in the same steps.

LiteRT computes a layer in integers only where its output is rounded too. What ``insert_quantizers`` leaves in
float (the last layer's output, or one before an activation that no other runtime computes in integers) would
make the layer one in float there, with weights of four times the size. Its concatenation copies integers, so
that the parts are rounded in the steps of the whole: with steps of their own they would be cut off elsewhere.
"""

from __future__ import annotations

import copy

import torch
from torch import fx

from raysearch.networks import operators
from raysearch.networks.operators import layer_of
from raysearch.networks.unlifting import finished
from raysearch.trainables.quantization.insert import quantizer_of
from raysearch.trainables.quantization.quantizer import INTEGER_BITS, Quantizer

_EIGHT = INTEGER_BITS[-1]


def rounded_throughout(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A copy in which every layer that reads integers gives integers too, to be calibrated next.

    Args:
        graph_module: from ``insert_quantizers``; it is left as it is.

    Returns:
        The same network with quantisers of eight bits where they were missing, and one for what is joined.
    """
    completed = copy.deepcopy(graph_module)
    for node in list(completed.graph.nodes):
        if len(integer_operands(completed, node)) == 2:
            _round(completed, end_of(node))
    for node in completed.graph.nodes:
        if node.target is torch.ops.aten.cat.default:
            _join(completed, node)
    return finished(completed)


def _round(module: fx.GraphModule, tensor: fx.Node) -> None:
    """Give all who read a tensor what its finest quantiser gives, a new one where it has none."""
    known = {user: q.bits for user in tensor.users if (q := integer_quantizer(module, user))}
    if not known:
        name = f"quantize_{tensor.name}_{_EIGHT}"
        module.add_module(name, Quantizer(_EIGHT, signed=not operators.is_nonnegative(tensor)))
        with module.graph.inserting_after(tensor):
            new = module.graph.call_module(name, (tensor,))
        new.meta = dict(tensor.meta, dropout=False)
        known[new] = _EIGHT
    tensor.replace_all_uses_with(max(known, key=lambda user: known[user]), lambda user: user not in known)


def _join(module: fx.GraphModule, whole: fx.Node) -> None:
    """Give the parts of a concatenation, where nothing else reads them, the quantiser of the whole."""
    readers = [user for user in whole.users if integer_quantizer(module, user)]
    if len(readers) != 1 or len(whole.users) != 1:
        return
    for part in whole.all_input_nodes:
        if integer_quantizer(module, part) and len(part.users) == 1:
            part.target = readers[0].target


def integer_operands(module: fx.GraphModule, node: fx.Node) -> list[Quantizer]:
    """The quantisers of a layer's input and weights that round to integers; none for what is no layer."""
    layer = layer_of(node)
    if layer is None or layer.axis is None:
        return []
    found = (integer_quantizer(module, node.args[place]) for place in (layer.input, layer.weight))
    return [quantizer for quantizer in found if quantizer is not None]


def integer_quantizer(module: fx.GraphModule, node: object) -> Quantizer | None:
    """The quantiser that a node calls, where it rounds to integers; None for any other node."""
    quantizer = quantizer_of(module, node)
    return quantizer if quantizer is not None and quantizer.integer else None


def end_of(node: fx.Node) -> fx.Node:
    """The rectifier that alone reads what an operator gives, which its kernel applies; else itself."""
    while len(node.users) == 1:
        (user,) = node.users
        if not (operators.name_of(user) == "relu" or operators.upper_bound(user) or user.meta.get("dropout")):
            break
        node = user
    return node
