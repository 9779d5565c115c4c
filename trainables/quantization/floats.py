"""What a quantised network still computes in float, and why."""

from __future__ import annotations

from collections import Counter

from torch import Tensor, fx

from raysearch.networks import operators
from raysearch.networks.operators import layer_name, layer_of
from raysearch.trainables.quantization.insert import quantizer_of
from raysearch.trainables.quantization.quantizer import INTEGER_BITS

# What costs nothing to speak of, or stands inside an operator that runs in integers.
_FREE = (
    "relu",
    "hardtanh",
    "clamp",
    "clamp_min",
    "relu6",
    "sym_size",
    "arange",
    "zeros",
    "ones",
    "full",
    "to",
    "_to_copy",
)


def in_float(graph_module: fx.GraphModule) -> dict[str, str]:
    """The layers, and the kinds of other operators, that a network with quantisers computes in float.

    Args:
        graph_module: from ``insert_quantizers``.

    Returns:
        Each with the reason. An operator without weights is named by its kind and how often it occurs.
    """
    found: dict[str, str] = {}
    kinds: Counter[tuple[str, str]] = Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or not _gives_floats(node):
            continue
        layer = layer_of(node)
        if layer is not None:
            reason = _reason(graph_module, node)
            if reason:
                found[layer_name(node, layer)] = reason
        elif operators.name_of(node) in operators.RECURRENT:
            module = next(reversed(node.meta["nn_module_stack"].values()))[0]
            found[module] = f"no runtime here computes {operators.name_of(node)} in integers"
        elif not _free(graph_module, node):
            known = operators.computes_in_integers(node)
            why = "what it reads is in float" if known else "no runtime here computes it in integers"
            kinds[operators.name_of(node), why] += 1
    return found | {f"{count} x {kind}": why for (kind, why), count in kinds.items()}


def _gives_floats(node: fx.Node) -> bool:
    value = node.meta.get("val")
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    return isinstance(first, Tensor) and first.is_floating_point()


def _reason(graph_module: fx.GraphModule, node: fx.Node) -> str:
    """Why a layer with weights computes in float; empty where it does not."""
    layer = layer_of(node)
    assert layer is not None  # asked of layers only
    weights = quantizer_of(graph_module, node.args[layer.weight])
    if weights is None or weights.bits > INTEGER_BITS[-1]:
        return f"its weights have {weights.bits if weights else 32} bits"
    source = quantizer_of(graph_module, node.args[layer.input])
    if layer.axis is not None and (source is None or not source.integer):
        return f"its input has {source.bits if source else 32} bits"
    return ""


def _free(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether an operator moves values only, is part of one in integers, or is one itself."""
    if operators.is_view(node) or operators.name_of(node) in _FREE or not operators.name_of(node):
        return True
    if not operators.computes_in_integers(node):
        return False
    sources = [quantizer_of(graph_module, n) for n in node.all_input_nodes if operators.is_float(n)]
    return all(source is not None and source.integer for source in sources)
