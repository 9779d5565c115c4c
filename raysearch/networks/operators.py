"""What the operators of a captured graph are to those who change it: layers, products, views, activations."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

aten = torch.ops.aten


@dataclass(frozen=True)
class Layer:
    """Where an operator that multiplies by weights has its tensors.

    Attributes:
        input: the place of the input among the arguments.
        weight: the place of the weights.
        bias: the place of the bias; None where the operator takes none.
        axis: of the weights that is the output channels'; None for a table that is looked up in.
    """

    input: int = 0
    weight: int = 1
    bias: int | None = 2
    axis: int | None = 0


_CONVOLUTION, _TRANSPOSED = Layer(), Layer(axis=1)
_LAYERS: dict[Any, Layer] = {
    aten.conv1d.default: _CONVOLUTION,
    aten.conv1d.padding: _CONVOLUTION,
    aten.conv2d.default: _CONVOLUTION,
    aten.conv2d.padding: _CONVOLUTION,
    aten.conv3d.default: _CONVOLUTION,
    aten.conv3d.padding: _CONVOLUTION,
    aten.conv_transpose1d.default: _TRANSPOSED,
    aten.conv_transpose2d.input: _TRANSPOSED,
    aten.conv_transpose3d.input: _TRANSPOSED,
    aten.linear.default: Layer(),
    aten.addmm.default: Layer(input=1, weight=2, bias=0, axis=1),
    aten.matmul.default: Layer(bias=None, axis=1),
    aten.mm.default: Layer(bias=None, axis=1),
    aten.embedding.default: Layer(input=1, weight=0, bias=None, axis=None),
}
#: Layers of several steps: the input, the state and a list of all weights are their first arguments.
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")  # one step of them
_PRODUCTS = (aten.matmul.default, aten.mm.default, aten.bmm.default)
_SUMS = (aten.add.Tensor, aten.mul.Tensor)
_POOLS = tuple(
    getattr(aten, f"{kind}_pool{axes}d").default for kind in ("avg", "adaptive_avg") for axes in (1, 2, 3)
)
_SHAPES = (
    "view reshape flatten unflatten permute transpose t movedim swapaxes squeeze unsqueeze expand expand_as "
    "contiguous clone repeat slice select chunk split split_with_sizes unbind channel_shuffle pixel_shuffle"
)
_CHOICES = (
    "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d"
)
_VIEW_NAMES = {*_SHAPES.split(" "), *_CHOICES.split(" ")}
_NONNEGATIVE = {"relu", "relu6", "sigmoid", "hardsigmoid", "softmax", "_softmax", "exp", "abs", "square"}
# Of eight bits these are a table of 256 values, or stand between operators that are rounded anyway.
_TABLES = ("sigmoid", "hardsigmoid", "leaky_relu")
_CLAMPS = (aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default, aten.relu6.default)


def name_of(node: fx.Node) -> str:
    """An operator's name without its overload, "conv2d"; "" for what is none."""
    target = node.target
    return target._schema.name.partition("::")[2] if isinstance(target, torch._ops.OpOverload) else ""


def value_of(node: Any) -> Tensor | None:
    """A tensor of the node's shape and type; None for what gives none."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return value if isinstance(value, Tensor) else None


def is_float(node: Any) -> bool:
    """Whether the node gives a tensor of floating type."""
    value = value_of(node)
    return value is not None and value.is_floating_point()


def layer_of(node: fx.Node) -> Layer | None:
    """How an operator with weights of its own takes them; None for any other."""
    layer = _LAYERS.get(node.target) if node.op == "call_function" else None
    if layer is None:
        return None
    weight = node.args[layer.weight]
    if not isinstance(weight, fx.Node) or weight.op not in ("get_attr", "call_module"):
        return None
    if name_of(node) in ("matmul", "mm") and cast(Tensor, value_of(weight)).dim() != 2:
        return None
    return layer


def weight_places(node: fx.Node) -> dict[str, int]:
    """Where an operator that may be a layer has its "weight" and "bias", parameters or not yet."""
    layer = _LAYERS.get(node.target) if node.op == "call_function" else None
    if layer is None:
        return {}
    return {"weight": layer.weight} | ({} if layer.bias is None else {"bias": layer.bias})


def weight_name(node: fx.Node, layer: Layer) -> str:
    """The parameter that an operator multiplies by, under its name in the network."""
    weight = cast(fx.Node, node.args[layer.weight])
    source = cast(fx.Node, weight.args[0]) if weight.op == "call_module" else weight  # behind its quantiser
    return str(source.target)


def layer_name(node: fx.Node, layer: Layer) -> str:
    """What the layer is called: its module's name where that holds a "weight", else the parameter's own."""
    return weight_name(node, layer).removesuffix(".weight")


def is_convolution(node: fx.Node) -> bool:
    """Whether an operator is a convolution, transposed ones too."""
    return name_of(node).startswith("conv")


def groups_of(node: fx.Node) -> int:
    """In how many groups a convolution works; 1 for any other operator."""
    return int(cast(int, node.args[6])) if len(node.args) > 6 and is_convolution(node) else 1


def is_product(node: fx.Node) -> bool:
    """Whether an operator multiplies two computed matrices."""
    return node.target in _PRODUCTS and layer_of(node) is None and all(is_float(a) for a in node.args[:2])


def keeps_sign(node: fx.Node) -> bool:
    """Whether an operator of inputs that are all 0 or more gives values of 0 or more."""
    if node.target in _SUMS:
        numbers = (*node.args, node.kwargs.get("alpha", 0))
        return all(isinstance(n, fx.Node) or cast(float, n) >= 0 for n in numbers)
    return node.target is aten.cat.default or _is_average(node)


def computes_in_integers(node: fx.Node) -> bool:
    """Whether runtimes compute an operator without weights in integers, between tensors that are rounded."""
    if node.target in _SUMS:
        return all(is_float(a) and cast(fx.Node, a).op != "get_attr" for a in node.args[:2])
    if node.target is aten.cat.default:
        return all(is_float(a) for a in cast(Any, node.args[0]))
    return _is_average(node) or is_product(node) or name_of(node) in _TABLES


def _is_average(node: fx.Node) -> bool:
    return node.target in _POOLS or is_global_average(node)


def is_global_average(node: fx.Node) -> bool:
    """Whether an operator averages over all axes behind the channels'."""
    if not node.args:
        return False
    value = value_of(node.args[0])
    if value is None or value.dim() < 3:
        return False
    if name_of(node).startswith("adaptive_avg_pool"):
        return all(size == 1 for size in cast(Any, node.args[1]))
    if node.target is not aten.mean.dim or node.args[1] is None:
        return False
    axes = sorted(axis % value.dim() for axis in cast(Any, node.args[1]))
    return axes == list(range(2, value.dim()))


def is_view(node: fx.Node) -> bool:
    """Whether what an operator gives holds values of its first input only: shapes, parts, maxima."""
    return node.target is operator.getitem or name_of(node) in _VIEW_NAMES


def upper_bound(node: fx.Node) -> float | None:
    """The limit m of an activation that keeps values within [0, m]; None for any other."""
    if node.target not in _CLAMPS:
        return None
    if node.target is aten.relu6.default:
        return 6.0
    low, high = (*node.args[1:], None, None)[:2]
    return float(cast(float, high)) if low == 0 and high is not None else None


def is_nonnegative(node: fx.Node) -> bool:
    """Whether an operator's own kind keeps its values at 0 or above."""
    if node.target in _CLAMPS:
        low = 0 if node.target is aten.relu6.default else (*node.args[1:], None)[0]
        return isinstance(low, (int, float)) and low >= 0
    return name_of(node) in _NONNEGATIVE


def is_dropout(node: fx.Node) -> bool:
    """Whether a node is a dropout, which is a module in a captured graph and gone from a file."""
    return bool(node.meta.get("dropout"))
