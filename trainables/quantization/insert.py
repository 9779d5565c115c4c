"""Where quantisers go: insertion of fake quantisation into a graph, each layer with its own bits.

A layer reads its input with the activation bits of its plan. Operators between layers that a runtime can
compute in integers (sums, global pooling, concatenation) are quantised where all the layers that feed them
are; they take the quantiser that a layer has already asked for on that tensor, so that a tensor has one where
one is enough. A part in float thus has no quantiser at all, and one in integers has them on every tensor
between its operators, without which a runtime does not fuse.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import fx, nn
from torch.nn import functional

from raysearch.basics.failures import UserError
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization.quantizer import FLOAT, INTEGER_BITS, QuantizedLayer, Quantizer

FORMS = ("uint8",)

_LAYERS = (nn.Conv2d, nn.Linear)
_POOLS = (nn.AdaptiveAvgPool2d,)
_POOL_CALLS = {functional.adaptive_avg_pool2d, torch.mean, "mean"}
_MERGES = {operator.add, operator.iadd, torch.add, torch.cat, "add", "add_"} | _POOL_CALLS
# Views hold values of their input only: one step serves before and behind them.
_VIEWS = (nn.MaxPool2d, nn.Flatten)
_VIEW_CALLS = {torch.flatten, functional.max_pool2d, torch.max_pool2d} | {
    *("flatten", "view", "reshape", "contiguous"),
}
_DROPOUTS = (nn.Dropout, nn.Dropout2d)
_NONNEGATIVE = (nn.ReLU, nn.ReLU6, nn.Sigmoid)
_NONNEGATIVE_CALLS = {torch.relu, torch.relu_, functional.relu, functional.relu6, torch.sigmoid} | {
    *("relu", "relu_", "sigmoid"),
}


def insert_quantizers(
    graph_module: fx.GraphModule, bits: BitWidthPlan, form: str = "uint8"
) -> fx.GraphModule:
    """A copy with fake quantisation, to be calibrated next.

    The same graph and bits give the same names and order of parameters every time.

    Args:
        graph_module: with batch norm folded (``fold_batch_norm``).
        bits: of each layer's weights and input. A layer that the graph calls more than once keeps a float
            bias.
        form: "uint8": unsigned after ReLU, and signed values shifted by 128 in the file, as CPUs fuse them.

    Raises:
        ValueError: an unknown form.
    """
    if form not in FORMS:
        raise UserError(f"form is {form!r}: a graph is quantised in one of {', '.join(FORMS)}")
    quantized = copy.deepcopy(graph_module)
    graph = _Graph(quantized, bits)
    placed = graph.place()
    _wrap_layers(graph, placed)
    quantized.graph.lint()
    quantized.recompile()
    return quantized.eval()


@dataclass
class _Graph:
    """A graph read as layers, merges, views and other operators."""

    module: fx.GraphModule
    plan: BitWidthPlan
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.modules = dict(self.module.named_modules())

    # -- what a node is ------------------------------------------------------------------------------------

    def is_a(self, node: fx.Node, kinds: tuple[type, ...], calls: Set[Any]) -> bool:
        if node.op == "call_module":
            return isinstance(self.modules[str(node.target)], kinds)
        return node.op in ("call_function", "call_method") and node.target in calls

    def is_layer(self, node: fx.Node) -> bool:
        return self.is_a(node, _LAYERS, set())

    def is_merge(self, node: fx.Node) -> bool:
        if not self.is_a(node, _POOLS, _MERGES):
            return False
        if self.is_size(node):
            return False
        unary = self.is_a(node, _POOLS, _POOL_CALLS | {torch.cat})
        return unary or all(isinstance(a, fx.Node) for a in node.args[:2])

    def is_size(self, node: fx.Node) -> bool:
        """Whether it computes with shapes, not with tensors."""
        if node.op == "call_method" and node.target in ("size", "dim", "numel"):
            return True
        if node.op != "call_function" or not node.all_input_nodes:
            return False
        if node.target is getattr:
            return str(node.args[1]) == "shape"
        return all(self.is_size(n) for n in node.all_input_nodes)

    def is_view(self, node: fx.Node) -> bool:
        return self.is_a(node, _VIEWS, _VIEW_CALLS)

    def nonnegative(self, node: fx.Node) -> bool:
        if self.is_a(node, _NONNEGATIVE, _NONNEGATIVE_CALLS):
            return True
        if self.is_view(node) or self.is_merge(node) or self.is_a(node, _DROPOUTS, {functional.dropout}):
            return all(self.nonnegative(n) for n in node.all_input_nodes)
        return False

    def root(self, node: fx.Node) -> fx.Node:
        """The tensor that a chain of views starts from."""
        while self.is_view(node):
            node = node.all_input_nodes[0]
        return node

    # -- the bits that each reader of a tensor asks for ----------------------------------------------------

    def layer_bits(self, node: fx.Node) -> tuple[int, int]:
        return self.plan.layer(str(node.target))

    def feeders(self, node: fx.Node) -> set[fx.Node]:
        """The layers that feed a merge: those with no other merge between, or the nearest ones behind it."""
        direct = {layer for n in node.all_input_nodes for layer in self._direct(n)}
        if direct:
            return direct
        return {layer for n in node.all_input_nodes for layer in self.feeders(n)}

    def _direct(self, node: fx.Node) -> set[fx.Node]:
        if self.is_layer(node):
            return {node}
        if self.is_merge(node):
            return set()
        return {layer for n in node.all_input_nodes for layer in self._direct(n)}

    def merge_bits(self, node: fx.Node) -> int:
        """What a merge computes in: its feeders' finest activations where all are integers, else float."""
        bits = [self.layer_bits(layer) for layer in self.feeders(node)]
        if not bits or any(max(b) > INTEGER_BITS[-1] for b in bits):
            return FLOAT
        return max(activation for _, activation in bits)

    def asked(self, reader: fx.Node, tensor: fx.Node) -> set[int]:
        """The bits in which a node reads a tensor; a view passes on what is asked of it."""
        if self.is_view(reader):
            return {b for user in reader.users for b in self.asked(user, reader)} or {FLOAT}
        if self.is_layer(reader):
            return {self.layer_bits(reader)[1]}
        if self.is_merge(reader):
            bits = self.merge_bits(reader)
            layers = [b for b in self.by_layers(self.root(tensor)) if b <= INTEGER_BITS[-1]]
            return {max(layers, default=bits) if bits < FLOAT else FLOAT}
        return {FLOAT}

    def by_layers(self, tensor: fx.Node) -> Iterator[int]:
        """The bits in which layers read a tensor, also through views."""
        for user in tensor.users:
            if self.is_view(user):
                yield from self.by_layers(user)
            elif self.is_layer(user):
                yield self.layer_bits(user)[1]

    # -- insertion -----------------------------------------------------------------------------------------

    def place(self) -> dict[fx.Node, Quantizer]:
        """Insert the quantisers of all tensors; returns the quantiser behind each inserted node."""
        # All is decided on the graph as it was given, and inserted afterwards.
        tensors = [n for n in self.module.graph.nodes if not self.is_size(n)]
        readers = {t: [(user, self.asked(user, t)) for user in t.users] for t in tensors}
        names = {t: self.root(t).name for t in tensors}
        signed = {t: not self.nonnegative(self.root(t)) for t in tensors}
        placed: dict[fx.Node, Quantizer] = {}
        for tensor, asked in readers.items():
            levels = sorted({b for _, bits in asked for b in bits if b < FLOAT}, reverse=True)
            quantizers = {b: self._quantizer(names[tensor], b, signed[tensor]) for b in levels}
            nodes = self._attach(tensor, quantizers, placed)
            for user, bits in asked:
                # A view that somebody reads in float stays in float; else it takes the finest asked of it.
                if max(bits) in nodes:
                    user.replace_input_with(tensor, nodes[max(bits)])
        return placed

    def _attach(
        self, tensor: fx.Node, quantizers: dict[int, str], placed: dict[fx.Node, Quantizer]
    ) -> dict[int, fx.Node]:
        """Insert a tensor's quantisers, by bits, the finest first.

        Coarser integers read finer ones: what gives the tensor is fused with a single reader only.
        """
        nodes: dict[int, fx.Node] = {}
        source = last = tensor
        for bits, name in quantizers.items():
            with self.module.graph.inserting_after(last):
                last = nodes[bits] = self.module.graph.call_module(name, (source,))
            placed[last] = cast(Quantizer, self.modules[name])
            if bits <= INTEGER_BITS[-1]:
                source = last
        return nodes

    def _quantizer(self, root: str, bits: int, signed: bool) -> str:
        """The name of the quantiser of a tensor and the views of it, made when first asked for."""
        name = f"quantize_{root}_{bits}"
        if name not in self.modules:
            self.modules[name] = Quantizer(bits, signed=signed)
            self.module.add_submodule(name, self.modules[name])
        elif not isinstance(self.modules[name], Quantizer):
            raise UserError(
                f"the model has a layer named {name!r}, which its quantiser needs: rename the layer"
            )
        return name


def _wrap_layers(graph: _Graph, placed: dict[fx.Node, Quantizer]) -> None:
    """Quantise the weights of each layer whose plan asks for it."""
    calls = Counter(n.target for n in graph.module.graph.nodes if n.op == "call_module")
    for node in list(graph.module.graph.nodes):
        name = str(node.target)
        layer = graph.modules.get(name)
        if node.op != "call_module" or not isinstance(layer, (*_LAYERS, QuantizedLayer)):
            continue
        weight_bits, _ = graph.layer_bits(node)
        if weight_bits >= FLOAT:
            continue
        if isinstance(layer, _LAYERS):
            graph.modules[name] = QuantizedLayer(layer, weight_bits)
            graph.module.set_submodule(name, graph.modules[name])
        source = placed.get(node.args[0])
        if source is not None and source.integer and weight_bits <= INTEGER_BITS[-1] and calls[name] == 1:
            with graph.module.graph.inserting_before(node):
                scale = graph.module.graph.get_attr(f"{node.args[0].target}.scale")
            node.args = (node.args[0], scale)
