"""What a fake-quantised graph becomes when it is shipped: a plain float network, or ONNX's own operators."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, fx

from raysearch.basics.failures import UserError
from raysearch.networks import operators
from raysearch.networks.unlifting import finished, hold
from raysearch.trainables.export.symbols import give_name, symbolic, symbolic_several
from raysearch.trainables.quantization.insert import quantizer_of
from raysearch.trainables.quantization.quantizer import BiasQuantizer, Quantizer, bias_codes, round_bias

# The end of the name of a constant that the file is to hold as float16, with a Cast behind it. The exporter
# would compute a Cast that was written here.
FLOAT16_WEIGHT = "float16_weight"
_SPLITS = ("chunk", "split", "split_with_sizes")
_SHIFT = 128  # between a signed integer and its uint8 code
_SIGNED_HIGH = 127  # the largest int8
_ONNX_FLOAT, _ONNX_FLOAT16 = 1, 10


@torch.no_grad()
def float_form(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A copy on the CPU without fake quantisers, its weights rounded to what the quantised ones are worth."""
    shipped = _copy(graph_module)
    rounded: set[str] = set()
    for node in list(shipped.graph.nodes):
        quantizer = quantizer_of(shipped, node)
        if quantizer is not None and quantizer.channels is not None and str(node.args[0]) not in rounded:
            weight = shipped.get_parameter(str(node.args[0].target))
            weight.copy_(quantizer(weight))
            rounded.add(str(node.args[0]))
        if node.op == "call_module":
            node.replace_all_uses_with(node.args[0])
            shipped.graph.erase_node(node)
    return finished(shipped)


@torch.no_grad()
def onnx_form(graph_module: fx.GraphModule, *, signed: bool = False) -> fx.GraphModule:
    """A copy on the CPU whose quantisers are ONNX operators: it can be exported, but not run in torch.

    All integers of activations have one type, uint8 as CPUs want it or int8 as TensorRT does, so that a sum's
    inputs and output have one type, which is what runtimes fuse.
    Averages over all positions become ONNX's global pooling: the exporter would write a mean, which runtimes
    compute in float. Averages over windows of one size become plain pooling. An upper limit (ReLU6) is left
    to the uint8 quantiser behind it, which holds no value beyond it.

    Args:
        graph_module: captured and folded, with quantisers or without; it is left as it is.
        signed: int8 with a zero point of 0, and biases in float.

    Raises:
        UserError: a quantiser's integers do not fit in int8.
    """
    shipped = _copy(graph_module)
    for node in list(shipped.graph.nodes):
        if operators.is_global_average(node):
            _ship_average(shipped, node)
        elif operators.name_of(node).startswith("adaptive_avg_pool"):
            _ship_adaptive_average(node)
        elif operators.name_of(node) == "batch_norm" and node.args[3] is not None:
            _ship_batch_norm(shipped, node)
        elif operators.name_of(node) in _SPLITS:
            _ship_split(shipped, node)
        elif node.op == "call_module" and not signed:
            _leave_limit(shipped, node)
    for node in list(shipped.graph.nodes):
        if node.op == "call_module":
            _ship_module(shipped, node, signed)
    return finished(shipped)


def _copy(graph_module: fx.GraphModule) -> fx.GraphModule:
    return copy.deepcopy(graph_module).cpu().eval().requires_grad_(False)


def _ship_average(shipped: fx.GraphModule, node: fx.Node) -> None:
    """Average over all positions at once, and then drop the axes that the network drops.

    Where a quantiser alone reads the average it stands before and behind that: a runtime fuses only what
    follows the pooling itself.
    """
    graph, pooled = shipped.graph, cast(Tensor, node.meta["val"])
    x = cast(fx.Node, node.args[0])
    whole = cast(Tensor, x.meta["val"])
    kept = whole.mean(list(range(2, whole.dim())), keepdim=True)
    reader = next(iter(node.users))
    with graph.inserting_before(node):
        new = symbolic(graph, "GlobalAveragePool", [x], kept, version=1)
        if pooled.dim() != whole.dim():
            if len(node.users) == 1 and quantizer_of(shipped, reader) is not None:
                new = graph.call_module(str(reader.target), (new,))
                new.meta["val"] = kept
            new = symbolic(graph, "Flatten", [new], pooled, {"axis": 1})
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def _ship_adaptive_average(node: fx.Node) -> None:
    """Plain pooling, where all windows have one size: the exporter would gather each window by itself."""
    wanted = cast(list[int], node.args[1])
    sizes = cast(Tensor, operators.value_of(node.args[0])).shape[-len(wanted) :]
    pairs = list(zip(sizes, wanted, strict=True))
    if all(isinstance(size, int) and isinstance(parts, int) and size % parts == 0 for size, parts in pairs):
        windows = [size // parts for size, parts in pairs]
        node.target = getattr(torch.ops.aten, operators.name_of(node).removeprefix("adaptive_")).default
        node.args = (node.args[0], windows, windows)


def _ship_batch_norm(shipped: fx.GraphModule, node: fx.Node) -> None:
    """A batch norm, with statistics, that follows no layer; the exporter would take the whole graph apart."""
    x, weight, bias, mean, variance, *_, eps, _ = node.args
    channels = cast(Tensor, cast(fx.Node, mean).meta["val"])
    with shipped.graph.inserting_before(node):
        scale = weight or _constant(shipped, f"{node.name}_scale", torch.ones(channels.shape))
        shift = bias or _constant(shipped, f"{node.name}_shift", torch.zeros(channels.shape))
        inputs = cast(list[fx.Node], [x, scale, shift, mean, variance])
        value, attributes = cast(Tensor, node.meta["val"]), {"epsilon": cast(float, eps)}
        new = symbolic(shipped.graph, "BatchNormalization", inputs, value, attributes, version=15)
    node.replace_all_uses_with(new)
    shipped.graph.erase_node(node)


def _ship_split(shipped: fx.GraphModule, node: fx.Node) -> None:
    """Parts of known sizes along an axis; the exporter would write a sequence, which runtimes are slow at."""
    parts, axis = cast(list[Tensor], node.meta["val"]), cast(int, (*node.args[2:], 0)[0])
    sizes = [part.shape[axis] for part in parts]
    if not all(isinstance(size, int) for size in sizes):
        return
    with shipped.graph.inserting_before(node):
        lengths = _constant(shipped, f"{node.name}_lengths", torch.tensor(sizes))
        inputs = [cast(fx.Node, node.args[0]), lengths]
        new = symbolic_several(shipped.graph, "Split", inputs, parts, {"axis": axis}, version=18)
    node.replace_all_uses_with(new)
    shipped.graph.erase_node(node)


def _leave_limit(shipped: fx.GraphModule, node: fx.Node) -> None:
    """Take out a limit between 0 and a bound that one quantiser alone reads, whose integers keep to it."""
    quantizer, limit = quantizer_of(shipped, node), node.args[0]
    if quantizer is None or not quantizer.integer or not isinstance(limit, fx.Node) or len(limit.users) > 1:
        return
    bound = operators.upper_bound(limit)
    if bound is not None and not quantizer.signed and quantizer.largest_step <= bound / quantizer.high:
        node.replace_input_with(limit, cast(fx.Node, limit.args[0]))


def _ship_module(shipped: fx.GraphModule, node: fx.Node, signed: bool) -> None:
    """Put a quantiser's ONNX operators in its place, and nothing in a dropout's."""
    module, name = shipped.get_submodule(str(node.target)), node.name
    with shipped.graph.inserting_before(node):
        if isinstance(module, BiasQuantizer):
            new = _bias(shipped, node, module, signed)
        elif not isinstance(module, Quantizer):
            new = cast(fx.Node, node.args[0])
        elif module.channels is not None:
            new = _weight(shipped, node, module)
        elif not module.integer:
            new = _half(shipped, node)
        elif signed:
            new = _signed_activation(shipped, node, module)
        else:
            new = _activation(shipped, node, module)
    node.replace_all_uses_with(new)
    shipped.graph.erase_node(node)
    if isinstance(module, Quantizer) and module.channels is None:
        give_name(new, name)  # by which the file's tensor is found again


def _activation(shipped: fx.GraphModule, node: fx.Node, quantizer: Quantizer) -> fx.Node:
    """QuantizeLinear, Clip on the integers below eight bits, DequantizeLinear.

    The Clip stands between Q and DQ because a Clip before Q would come between an operator and the Q that it
    is fused with.
    """
    graph, x, value = shipped.graph, cast(fx.Node, node.args[0]), cast(Tensor, node.meta["val"])
    shift = _SHIFT if quantizer.signed else 0
    low, high = quantizer.low + shift, quantizer.high + shift
    scale = _constant(shipped, f"{node.target}_step", quantizer.step())
    zero_point = _constant(shipped, f"{node.target}_zero_point", torch.tensor(shift, dtype=torch.uint8))
    codes = value.to(torch.uint8)
    new = symbolic(graph, "QuantizeLinear", [x, scale, zero_point], codes)
    if (low, high) != (0, 255):
        limits = [
            _constant(shipped, f"{node.target}_{word}", torch.tensor(limit, dtype=torch.uint8))
            for word, limit in (("low", low), ("high", high))
        ]
        new = symbolic(graph, "Clip", [new, *limits], codes, version=13)
    return symbolic(graph, "DequantizeLinear", [new, scale, zero_point], value)


def _signed_activation(shipped: fx.GraphModule, node: fx.Node, quantizer: Quantizer) -> fx.Node:
    """Clip in float below eight bits, QuantizeLinear, DequantizeLinear; TensorRT clips no integers."""
    graph, x, value = shipped.graph, cast(fx.Node, node.args[0]), cast(Tensor, node.meta["val"])
    if quantizer.high > _SIGNED_HIGH:
        raise UserError(
            f"{node.target}: integers up to {quantizer.high} do not fit in int8, insert quantisers with"
            " unsigned_bits=7 for this form"
        )
    step = quantizer.step()
    scale = _constant(shipped, f"{node.target}_step", step)
    zero_point = _constant(shipped, f"{node.target}_zero_point", torch.tensor(0, dtype=torch.int8))
    if quantizer.high < _SIGNED_HIGH:
        limits = [
            _constant(shipped, f"{node.target}_{word}", limit * step)
            for word, limit in (("low", quantizer.low), ("high", quantizer.high))
        ]
        x = symbolic(graph, "Clip", [x, *limits], value, version=13)
    codes = symbolic(graph, "QuantizeLinear", [x, scale, zero_point], value.to(torch.int8))
    return symbolic(graph, "DequantizeLinear", [codes, scale, zero_point], value)


def _half(shipped: fx.GraphModule, node: fx.Node) -> fx.Node:
    """Two Casts, to float16 and back."""
    graph, x, value = shipped.graph, cast(fx.Node, node.args[0]), cast(Tensor, node.meta["val"])
    half = symbolic(graph, "Cast", [x], value.to(torch.float16), {"to": _ONNX_FLOAT16})
    return symbolic(graph, "Cast", [half], value, {"to": _ONNX_FLOAT})


def _weight(shipped: fx.GraphModule, node: fx.Node, quantizer: Quantizer) -> fx.Node:
    """Codes as int8 with a scale for each channel, or float16."""
    source, value = cast(fx.Node, node.args[0]), cast(Tensor, node.meta["val"])
    weight = shipped.get_parameter(str(source.target))
    if not quantizer.integer:
        return _constant(shipped, f"{node.target}_{FLOAT16_WEIGHT}", weight.half().float())
    step = quantizer.step()
    step, attributes = (step.reshape(()), {}) if quantizer.channels == 1 else (step, {"axis": quantizer.axis})
    codes = _constant(shipped, f"{node.target}_codes", quantizer.codes(weight).to(torch.int8))
    scale = _constant(shipped, f"{node.target}_step", step)
    zero_point = _constant(shipped, f"{node.target}_zero_point", torch.zeros_like(step, dtype=torch.int8))
    return symbolic(shipped.graph, "DequantizeLinear", [codes, scale, zero_point], value, attributes)


def _bias(shipped: fx.GraphModule, node: fx.Node, quantizer: BiasQuantizer, signed: bool) -> fx.Node:
    """An int32 bias, whose scale is the product of its layer's; or what that is worth, in float."""
    bias, *scales = (shipped.get_parameter(str(cast(fx.Node, a).target)) for a in node.args)
    step = quantizer.step(*scales).expand(len(bias)).contiguous()
    if signed:
        return _constant(shipped, f"{node.target}_rounded", round_bias(bias, step))
    codes = _constant(shipped, f"{node.target}_codes", bias_codes(bias, step))
    scale = _constant(shipped, f"{node.target}_step", step)
    value = cast(Tensor, node.meta["val"])
    return symbolic(shipped.graph, "DequantizeLinear", [codes, scale, None], value, {"axis": 0})


def _constant(shipped: fx.GraphModule, name: str, tensor: Tensor) -> fx.Node:
    """A constant of the file, held as a buffer."""
    tensor = tensor.detach().clone()
    hold(shipped, name, tensor)
    node = shipped.graph.get_attr(name)
    node.meta["val"] = tensor
    return node
