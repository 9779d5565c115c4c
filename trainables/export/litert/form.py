"""What a fake-quantised graph becomes for LiteRT: torch's operators, and pairs of Quantize and Dequantize."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
import torch.ao.quantization.fx._decomposed  # declares torch.ops.quantized_decomposed
from torch import Tensor, fx

from raysearch.networks import operators
from raysearch.networks.operators import layer_name, layer_of
from raysearch.networks.unlifting import finished, hold
from raysearch.trainables.quantization.calibrate import widen_steps
from raysearch.trainables.quantization.quantizer import INTEGER_BITS, BiasQuantizer, Quantizer
from raysearch.trainables.quantization.throughout import end_of, integer_quantizer

_EIGHT = INTEGER_BITS[-1]
_LABEL = "raysearch.label"
_SHIFT = -128  # the code of zero where no value is negative
# What LiteRT's kernels with a table give, whatever is asked: the step, and the code of zero.
_TABLES = {"sigmoid": (1 / 256, _SHIFT)}
decomposed, aten = torch.ops.quantized_decomposed, torch.ops.aten


@torch.no_grad()
def litert_form(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A copy on the CPU of operators alone, which computes the same and which litert-torch converts.

    All integers are int8. Each node is labelled with its layer and the quantiser that rounds what it gives;
    tensors of the file are named by that.
    """
    shipped = copy.deepcopy(graph_module).cpu().eval().requires_grad_(False)
    widen_steps(shipped)  # those that training made smaller since
    _label(shipped)
    for node in list(shipped.graph.nodes):
        if node.op == "call_module":
            _ship(shipped, node)
    return finished(shipped)


def layer_of_label(node: fx.Node) -> str:
    """The layer that a labelled node belongs to; "" where it stands in none."""
    _, label = node.meta["nn_module_stack"][_LABEL]
    return str(label).rpartition(":")[0]


def _label(shipped: fx.GraphModule) -> None:
    """Name each node by its layer and by the quantiser, or else the node, that its values end at."""
    for node in shipped.graph.nodes:
        if node.op in ("call_function", "call_module"):
            end = end_of(node)
            rounded = next((user for user in end.users if integer_quantizer(shipped, user)), node)
            label = f"{_layer(node)}:{rounded.name if node.op == 'call_function' else node.name}"
            node.meta["nn_module_stack"] = {_LABEL: ("", label)}


def _layer(node: fx.Node) -> str:
    """The layer's name, or that of the module in which an operator stands; "" at the top."""
    layer = layer_of(node)
    if layer is not None:
        return layer_name(node, layer)
    stack = node.meta.get("nn_module_stack") or {}
    return next((name for name, _ in reversed(list(stack.values()))), "")


def _ship(shipped: fx.GraphModule, node: fx.Node) -> None:
    """Write a module as operators, and take it out."""
    module = shipped.get_submodule(str(node.target))
    with shipped.graph.inserting_before(node):
        if isinstance(module, BiasQuantizer):
            new = _bias(shipped, node, module)
        elif not isinstance(module, Quantizer):
            new = cast(fx.Node, node.args[0])
        elif module.channels is not None:
            new = _weight(shipped, node, module)
        else:
            new = _activation(shipped, node, module)
    node.replace_all_uses_with(new)
    shipped.graph.erase_node(node)


def _activation(shipped: fx.GraphModule, node: fx.Node, quantizer: Quantizer) -> fx.Node:
    """Quantize and Dequantize; a limit and the pair again below eight bits; two casts for float16.

    A file knows no narrower range of integers than that of int8, so a limit on them is an operator, which
    itself stands between rounded tensors.
    """
    x = cast(fx.Node, node.args[0])
    if not quantizer.integer:
        half = _call(shipped, node, aten._to_copy.default, (x,), {"dtype": torch.float16})
        return _call(shipped, node, aten._to_copy.default, (half,), {"dtype": torch.float32})
    step, zero = float(quantizer.step()), 0 if quantizer.signed else _SHIFT
    fixed = _TABLES.get(operators.name_of(x), (step, zero))
    if fixed != (step, zero):
        x = _pair(shipped, node, x, *fixed)
        if quantizer.bits < _EIGHT:  # an operator in between, or the converter leaves the second rounding out
            x = _call(shipped, node, aten.relu.default, (x,))
    rounded = _pair(shipped, node, x, step, zero)
    low, high = quantizer.low * step, quantizer.high * step
    if quantizer.bits == _EIGHT:
        return rounded
    if quantizer.signed:
        limited = _call(shipped, node, aten.clamp.default, (rounded, low, high))
    else:
        limited = _call(shipped, node, aten.clamp.default, (rounded, None, high))
    return _pair(shipped, node, limited, step, zero)


def _pair(shipped: fx.GraphModule, node: fx.Node, x: fx.Node, step: float, zero: int) -> fx.Node:
    how = (step, zero, -128, 127, torch.int8)
    codes = _call(shipped, node, decomposed.quantize_per_tensor.default, (x, *how))
    return _call(shipped, node, decomposed.dequantize_per_tensor.default, (codes, *how))


def _weight(shipped: fx.GraphModule, node: fx.Node, quantizer: Quantizer) -> fx.Node:
    """The rounded weights with the pair that gives them their steps; float16 behind a cast."""
    source = cast(fx.Node, node.args[0])
    weight = shipped.get_parameter(str(source.target))
    if not quantizer.integer:
        half = _constant(shipped, f"{node.target}_half", weight.half())
        return _call(shipped, node, aten._to_copy.default, (half,), {"dtype": torch.float32})
    values = _constant(shipped, f"{node.target}_values", quantizer(weight))
    if quantizer.channels == 1:
        return _pair(shipped, node, values, float(quantizer.step()), 0)
    step = _constant(shipped, f"{node.target}_step", quantizer.step())
    zeros = _constant(shipped, f"{node.target}_zeros", torch.zeros(len(quantizer.step()), dtype=torch.int64))
    how = (step, zeros, quantizer.axis, -127, 127, torch.int8)
    codes = _call(shipped, node, decomposed.quantize_per_channel.default, (values, *how))
    return _call(shipped, node, decomposed.dequantize_per_channel.default, (codes, *how))


def _bias(shipped: fx.GraphModule, node: fx.Node, quantizer: BiasQuantizer) -> fx.Node:
    """The rounded bias: the converter finds its integers from the steps of the layer's input and weights."""
    bias, *scales = (shipped.get_parameter(str(cast(fx.Node, a).target)) for a in node.args)
    return _constant(shipped, f"{node.target}_values", quantizer(bias, *scales))


def _call(
    shipped: fx.GraphModule,
    origin: fx.Node,
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
) -> fx.Node:
    """A node with the origin's label."""
    node = shipped.graph.call_function(target, args, kwargs)
    node.meta = {"nn_module_stack": origin.meta["nn_module_stack"]}
    return node


def _constant(shipped: fx.GraphModule, name: str, tensor: Tensor) -> fx.Node:
    """A constant of the file, held as a buffer."""
    hold(shipped, name, tensor.detach().clone())
    return shipped.graph.get_attr(name)
