"""In which bits each tensor is read, and which must be rounded for a runtime to compute in integers.

A layer reads its input in the activation bits of its plan. What stands between layers (sums, products,
averages, concatenation) is computed in integers where all that feeds it is. A part in float has no quantiser
at all; one in integers has them on every tensor between its operators, without which a runtime does not fuse
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import fx

from raysearch.networks import operators
from raysearch.networks.operators import layer_name, layer_of
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.keys import part_of
from raysearch.trainables.quantization.quantizer import FLOAT, INTEGER_BITS

_EIGHT = INTEGER_BITS[-1]


@dataclass
class Reading:
    """A captured graph read with a plan of bits.

    Args:
        graph: of a captured network.
        plan: bits of each layer's weights and input.
        exclude: layers, or parts with all their layers, that stay in float whatever the plan says.
    """

    graph: fx.Graph
    plan: BitWidthPlan
    exclude: Sequence[str] = ()
    # What was found: sums of sums, and views of views, would be followed along every path again.
    _passed_on: dict[fx.Node, set[int]] = field(default_factory=dict, init=False)
    _nonnegative: dict[fx.Node, bool] = field(default_factory=dict, init=False)
    _fed_by: dict[fx.Node, set[fx.Node]] = field(default_factory=dict, init=False)

    @cached_property
    def integers(self) -> set[fx.Node]:
        """The operators between layers that are computed in integers."""
        found: set[fx.Node] = set()
        for node in self.graph.nodes:
            if operators.is_product(node):
                integer = self._is_fed_by_integers(node)
            else:
                integer = operators.computes_in_integers(node) and all(
                    self._is_integer(n, found) for n in _operands(node)
                )
            if integer:
                found.add(node)
        return found

    def layer_bits(self, node: fx.Node) -> tuple[int, int]:
        """(weight bits, activation bits) of a layer; 32 for what has no plan."""
        layer = layer_of(node)
        name = "" if layer is None else layer_name(node, layer)
        excluded = layer is None or part_of(name, self.exclude) is not None
        return (FLOAT, FLOAT) if excluded else self.plan.layer(name)

    def is_layer(self, node: fx.Node) -> bool:
        """Whether a node multiplies an input by weights, which a table that is looked up in does not."""
        layer = layer_of(node)
        return layer is not None and layer.axis is not None

    def asked(self, reader: fx.Node, tensor: fx.Node) -> set[int]:
        """The bits in which a node reads a tensor; a view passes on what is asked of it."""
        if operators.is_view(reader):
            if reader not in self._passed_on:
                found = {b for user in reader.users for b in self.asked(user, reader)}
                self._passed_on[reader] = found or {FLOAT}
            return self._passed_on[reader]
        if self.is_layer(reader):
            return {self.layer_bits(reader)[1] if reader.args[_input(reader)] is tensor else FLOAT}
        if reader in self.integers:
            return {max(self._by_layers(self.root(tensor)), default=self.bits(reader))}
        return {FLOAT}

    def bits(self, node: fx.Node) -> int:
        """What an operator in integers computes in: the finest activations that feed it, at most 8."""
        return min(_EIGHT, max((self.layer_bits(layer)[1] for layer in self._feeders(node)), default=_EIGHT))

    def root(self, node: fx.Node) -> fx.Node:
        """The tensor that a chain of views starts from."""
        while operators.is_view(node):
            node = node.all_input_nodes[0]
        return node

    def rounded_at_the_end(self) -> dict[fx.Node, int]:
        """Tensors that must be rounded whoever reads them, with their bits.

        A convolution, or an operator between layers, is computed in integers only where its own output, or
        that of the rectifier that follows it alone, is rounded too. Products may give floats, but not both.
        """
        found = {}
        for node in self.graph.nodes:
            if node in self.integers and not operators.is_product(node):
                found[_end(node)] = self.bits(node)
            elif (
                self.is_layer(node)
                and (operators.is_convolution(node) or self._is_read_both_ways(node))
                and max(self.layer_bits(node)) <= _EIGHT
            ):
                found[_end(node)] = self.layer_bits(node)[1]
        return found

    def _is_read_both_ways(self, node: fx.Node) -> bool:
        """Whether some read a product rounded and some in float: a runtime fuses what all read alike."""
        read = {b for user in node.users for b in self.asked(user, node)}
        return FLOAT in read and min(read) <= _EIGHT

    def nonnegative(self, node: fx.Node) -> bool:
        """Whether a tensor's values are known to be 0 or more."""
        if node not in self._nonnegative:
            keeps = operators.keeps_sign(node) or operators.is_dropout(node)
            self._nonnegative[node] = (
                self.nonnegative(self.root(node))
                if operators.is_view(node)
                else operators.is_nonnegative(node)
                or (keeps and all(self.nonnegative(n) for n in _operands(node)))
            )
        return self._nonnegative[node]

    def _is_integer(self, tensor: fx.Node, known: set[fx.Node]) -> bool:
        """Whether a tensor comes from integers, or is rounded anyway for a layer that reads it."""
        source = self.root(tensor)
        if next(self._by_layers(source), None) is not None:
            return True
        while (operators.is_nonnegative(source) and _is_rectifier(source)) or operators.is_dropout(source):
            source = self.root(source.all_input_nodes[0])
        return source in known or (self.is_layer(source) and max(self.layer_bits(source)) <= _EIGHT)

    def _is_fed_by_integers(self, product: fx.Node) -> bool:
        """Whether all layers behind a product have integers; it costs as one does, whatever is between."""
        seen: set[fx.Node] = set()
        layers, queue = [], list(product.all_input_nodes)
        while queue:
            source = queue.pop()
            if source in seen:
                continue
            seen.add(source)
            if self.is_layer(source):
                layers.append(source)
            else:
                queue += source.all_input_nodes
        return bool(layers) and all(max(self.layer_bits(layer)) <= _EIGHT for layer in layers)

    def _feeders(self, node: fx.Node) -> set[fx.Node]:
        """The layers that feed an operator directly; where there are none, those behind integer operators."""
        if node not in self._fed_by:
            self._fed_by[node] = self._find_feeders(node)
        return self._fed_by[node]

    def _find_feeders(self, node: fx.Node) -> set[fx.Node]:
        nearest, seen, queue = set(), set(), list(node.all_input_nodes)
        behind: list[fx.Node] = []
        while queue:
            source = queue.pop()
            if source in seen:
                continue
            seen.add(source)
            if self.is_layer(source):
                nearest.add(source)
            elif source in self.integers:
                behind.append(source)
            else:
                queue += source.all_input_nodes
        return nearest or {layer for source in behind for layer in self._feeders(source)}

    def _by_layers(self, tensor: fx.Node) -> Iterator[int]:
        """The integer bits in which layers read a tensor, also through views."""
        for user in tensor.users:
            if operators.is_view(user):
                yield from self._by_layers(user)
            elif self.is_layer(user) and user.args[_input(user)] is tensor:
                bits = self.layer_bits(user)[1]
                if bits <= _EIGHT:
                    yield bits


def _input(node: fx.Node) -> int:
    layer = layer_of(node)
    assert layer is not None  # of layers only
    return layer.input


def _operands(node: fx.Node) -> list[fx.Node]:
    """The tensors that an operator computes with, without sizes."""
    return [n for n in node.all_input_nodes if operators.value_of(n) is not None]


def _is_rectifier(node: fx.Node) -> bool:
    """Whether an activation is one that kernels apply themselves, by the range of the integers they give."""
    return operators.name_of(node) == "relu" or operators.upper_bound(node) is not None


def _end(node: fx.Node) -> fx.Node:
    """Where what an operator gives is rounded: behind the rectifier that alone reads it."""
    while len(node.users) == 1:
        (user,) = node.users
        if not (_is_rectifier(user) or operators.is_dropout(user)):
            break
        node = user
    return node
