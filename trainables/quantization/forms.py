"""What a fake-quantised graph becomes when it is shipped: ONNX's own operators, or a plain float network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from raysearch.trainables.quantization.quantizer import QuantizedLayer, Quantizer, bias_codes, run_layer

OPSET = 21
# The end of the name of a constant that the file is to hold as float16, with a Cast behind it. The exporter
# would compute a Cast that was written here.
FLOAT16_WEIGHT = "float16_weight"
_SHIFT = 128  # between a signed integer and its uint8 code

# Names of the operators that the ONNX forms leave for the file.
_ONNX_FLOAT, _ONNX_FLOAT16 = 1, 10


def float_form(module: nn.Module) -> nn.Module:
    """A copy on the CPU without fake quantisers, its weights rounded to what the quantised ones are worth."""
    return _replaced(module, _nothing, lambda layer, _: _rounded(layer))


def onnx_form(module: nn.Module) -> nn.Module:
    """A copy on the CPU whose quantisers are ONNX operators: it can be exported, but not run in torch.

    Global pooling becomes ONNX's own too: the exporter would write a mean, which runtimes compute in float.
    """
    form = _replaced(module, _OnnxQuantizer, _OnnxLayer)
    if isinstance(form, fx.GraphModule):
        for node in form.graph.nodes:
            _pool_globally(form, node)
        form.recompile()
    return form


def _pool_globally(graph_module: fx.GraphModule, node: fx.Node) -> None:
    """Make the node ONNX's global pooling where it averages over height and width."""
    if node.op == "call_module":
        pool = graph_module.get_submodule(str(node.target))
        if isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size in (1, (1, 1)):
            node.op, node.target = "call_function", _global_average
    elif node.op == "call_function" and node.target is functional.adaptive_avg_pool2d:
        size = node.args[1] if len(node.args) > 1 else node.kwargs["output_size"]
        if size in (1, (1, 1), [1, 1]):
            node.target, node.args, node.kwargs = _global_average, tuple(node.all_input_nodes), {}


def _global_average(x: Tensor) -> Tensor:
    shape = (*x.shape[:2], 1, 1)
    return torch.onnx.ops.symbolic("GlobalAveragePool", (x,), dtype=x.dtype, shape=shape, version=OPSET)


def _replaced(
    module: nn.Module,
    quantizer_form: Callable[[Quantizer], nn.Module | None],
    layer_form: Callable[[QuantizedLayer, Tensor | None], nn.Module],
) -> nn.Module:
    """A copy with other modules in the place of quantisers (None: nothing) and of quantised layers."""
    shipped = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    if not isinstance(shipped, fx.GraphModule):
        return shipped
    modules = dict(shipped.named_modules())
    replaced: set[str] = set()
    for node in list(shipped.graph.nodes):
        part = modules.get(str(node.target)) if node.op == "call_module" else None
        new: nn.Module | None
        if isinstance(part, Quantizer):
            new = quantizer_form(part)
            if new is None:
                node.replace_all_uses_with(node.args[0])
                shipped.graph.erase_node(node)
                continue
        elif isinstance(part, QuantizedLayer):
            new = layer_form(part, _input_step(modules, node))
            node.args = node.args[:1]
        else:
            continue
        if node.target not in replaced:
            shipped.set_submodule(str(node.target), new)
            replaced.add(str(node.target))
    shipped.graph.eliminate_dead_code()
    shipped.delete_all_unused_submodules()
    shipped.recompile()
    return shipped


def _input_step(modules: dict[str, nn.Module], node: fx.Node) -> Tensor | None:
    """The step of the integers that a layer reads, where its bias is rounded with it."""
    if len(node.args) < 2:
        return None
    name, _, _ = str(cast(fx.Node, node.args[1]).target).rpartition(".")
    return cast(Quantizer, modules[name]).step().detach()


def _nothing(_: Quantizer) -> None:
    return None


def _rounded(quantized: QuantizedLayer) -> nn.Module:
    """The float layer with its weights rounded."""
    layer = quantized.layer
    layer.weight.copy_(quantized.quantizer(layer.weight))
    return layer


class _OnnxQuantizer(nn.Module):
    """QuantizeLinear, Clip on the integers below eight bits, DequantizeLinear; or two Casts for float16.

    All integers are uint8, so that a sum's inputs and output have one type, which is what runtimes fuse. The
    Clip stands between Q and DQ because a Clip before Q would come between an operator and the Q that it is
    fused with.
    """

    scale: Tensor
    zero_point: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.integer = quantizer.integer
        if not self.integer:
            return
        shift = _SHIFT if quantizer.signed else 0
        limits = quantizer.low + shift, quantizer.high + shift
        self.clipped = limits != (0, 255)
        self.register_buffer("scale", quantizer.step().detach().clone())
        self.register_buffer("zero_point", torch.tensor(shift, dtype=torch.uint8))
        if self.clipped:
            self.register_buffer("low", torch.tensor(limits[0], dtype=torch.uint8))
            self.register_buffer("high", torch.tensor(limits[1], dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        if not self.integer:
            return _cast(_cast(x, torch.float16), torch.float32)
        q = torch.onnx.ops.symbolic(
            "QuantizeLinear",
            (x, self.scale, self.zero_point),
            dtype=torch.uint8,
            shape=x.shape,
            version=OPSET,
        )
        if self.clipped:
            limits = (q, self.low, self.high)
            q = torch.onnx.ops.symbolic("Clip", limits, dtype=torch.uint8, shape=x.shape, version=13)
        return _dequantized(q, self.scale, self.zero_point)


class _OnnxLayer(nn.Module):
    """A layer that holds int8 or float16 weights, and an int32 bias where its input holds integers."""

    weight: Tensor
    scale: Tensor
    zero_point: Tensor
    bias: Tensor
    bias_scale: Tensor

    def __init__(self, quantized: QuantizedLayer, input_step: Tensor | None) -> None:
        super().__init__()
        weight, quantizer, bias = quantized.layer.weight, quantized.quantizer, quantized.layer.bias
        self.layer, self.integer = quantized.layer, quantizer.integer
        self.layer.register_parameter("weight", None)
        if self.integer:
            step = quantizer.step().detach()
            self.register_buffer("weight", quantizer.codes(weight).to(torch.int8))
            self.register_buffer("scale", step.clone())
            self.register_buffer("zero_point", torch.zeros(len(step), dtype=torch.int8))
        else:
            self.register_buffer(FLOAT16_WEIGHT, weight.half().float())
        self.integer_bias = input_step is not None and bias is not None
        if input_step is not None and bias is not None:
            self.layer.register_parameter("bias", None)
            self.register_buffer("bias_scale", input_step * self.scale)
            self.register_buffer("bias", bias_codes(bias, self.bias_scale))

    def forward(self, x: Tensor) -> Tensor:
        if self.integer:
            weight = _dequantized(self.weight, self.scale, self.zero_point, axis=0)
        else:
            weight = self.get_buffer(FLOAT16_WEIGHT)
        bias = (
            _dequantized(self.bias, self.bias_scale, None, axis=0) if self.integer_bias else self.layer.bias
        )
        return run_layer(self.layer, x, weight, bias)


def _dequantized(codes: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int | None = None) -> Tensor:
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    return torch.onnx.ops.symbolic(
        "DequantizeLinear",
        (codes, scale, zero_point),
        attributes,
        dtype=torch.float32,
        shape=codes.shape,
        version=OPSET,
    )


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    to = _ONNX_FLOAT16 if dtype == torch.float16 else _ONNX_FLOAT
    return torch.onnx.ops.symbolic("Cast", (x,), {"to": to}, dtype=dtype, shape=x.shape, version=OPSET)
