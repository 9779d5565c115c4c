"""The files of a network that inputs may leave early: one with ONNX's ``If``, and two for a cascade.

Both are cut from the network's file with two outputs, at the exit. What goes on is cut where it is smallest
and where runtimes fuse both parts: behind the quantiser, at the tensor in integers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import fx

from raysearch.trainables.exits.rule import ExitRule
from raysearch.trainables.export import export_onnx
from raysearch.trainables.setup import FILES

ONE, EARLY, LATE = FILES["uint8"], "model-early.onnx", "model-late.onnx"
OUTPUT, LEAVES = "output", "leaves"

_DECIDES = "exit_"  # before the names of what the rule adds


@dataclass(frozen=True)
class Cut:
    """A network's ONNX file with the outputs "early" and "last", cut at its exit.

    Attributes:
        whole: the file.
        first: the operators up to the exit, and the quantisers of what goes on.
        rest: those behind it.
        between: the names, and the forms, of the tensors that go on, "cut_0" ...
    """

    whole: ModelProto
    first: tuple[NodeProto, ...]
    rest: tuple[NodeProto, ...]
    between: tuple[ValueInfoProto, ...]

    def one_file(self, rule: ExitRule) -> ModelProto:
        """The network as one file: what stands behind the exit is in an ``If``.

        It is right for a batch of any size: that leaves early where all of it may, and else is run to the
        end, where each input is given the output that it is due.
        """
        graph, (early, last) = self.whole.graph, self.whole.graph.output
        output = _renamed(last, OUTPUT)
        left = helper.make_graph(
            [helper.make_node("Identity", [early.name], ["left"])], "leaves", [], [_renamed(early, "left")]
        )
        due = [
            helper.make_node("Greater", [f"{_DECIDES}confidence", f"{_DECIDES}threshold"], ["due_early"]),
            helper.make_node("Where", ["due_early", early.name, last.name], ["due"]),
        ]
        own = self._constants(self.rest, without=self.first)
        goes_on = helper.make_graph([*self.rest, *due], "goes_on", [], [_renamed(last, "due")], own)
        decides, constants = _decision(early.name, rule, keepdims=1)
        decides += [
            helper.make_node("ReduceMin", [f"{_DECIDES}confidence"], [f"{_DECIDES}least"], keepdims=0),
            helper.make_node("Greater", [f"{_DECIDES}least", f"{_DECIDES}threshold"], [f"{_DECIDES}now"]),
            helper.make_node("If", [f"{_DECIDES}now"], [OUTPUT], then_branch=left, else_branch=goes_on),
        ]
        constants += self._constants(self.first)
        return self._model([*self.first, *decides], "early_exit", graph.input, [output], constants)

    def two_files(self, rule: ExitRule) -> tuple[ModelProto, ModelProto]:
        """The network as two files.

        The first gives the exit's logits as "output", which inputs leave as "leaves", booleans (n,), and what
        goes on as "cut_0" ...; the second makes "output" of that.
        """
        graph, (early, last) = self.whole.graph, self.whole.graph.output
        decides, constants = _decision(early.name, rule, keepdims=0)
        decides += [
            helper.make_node("Greater", [f"{_DECIDES}confidence", f"{_DECIDES}threshold"], [LEAVES]),
            helper.make_node("Identity", [early.name], [OUTPUT]),
        ]
        leaves = helper.make_tensor_value_info(LEAVES, TensorProto.BOOL, _shape(early)[:1])
        first = self._model(
            [*self.first, *decides],
            "early",
            graph.input,
            [_renamed(early, OUTPUT), leaves, *self.between],
            [*constants, *self._constants(self.first)],
        )
        ends = helper.make_node("Identity", [last.name], [OUTPUT])
        read = {name for node in self.rest for name in node.input}
        inputs = [*self.between, *(value for value in graph.input if value.name in read)]
        output, held = _renamed(last, OUTPUT), self._constants(self.rest)
        return first, self._model([*self.rest, ends], "late", inputs, [output], held)

    def _constants(self, nodes: Iterable[NodeProto], without: Iterable[NodeProto] = ()) -> list[TensorProto]:
        """The initialisers that some operators read, and others do not."""
        read, left = ({name for node in each for name in node.input} for each in (nodes, without))
        return [tensor for tensor in self.whole.graph.initializer if tensor.name in read - left]

    def _model(
        self,
        nodes: Sequence[NodeProto],
        name: str,
        inputs: Sequence[ValueInfoProto],
        outputs: Sequence[ValueInfoProto],
        constants: Sequence[TensorProto],
    ) -> ModelProto:
        graph = helper.make_graph(nodes, name, inputs, outputs, constants)
        whole = self.whole
        made = helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)
        onnx.checker.check_model(made)
        return made


def cut_network(module: fx.GraphModule) -> Cut:
    """Export a captured network whose outputs are ``Exits``, and cut its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONE
        export_onnx(module, path)
        return cut_at_exit(onnx.load(str(path)))


def cut_at_exit(model: ModelProto) -> Cut:
    """Cut a network's file, whose outputs are those of ``Exits``, at its exit; it is left as it is."""
    whole = onnx.shape_inference.infer_shapes(model)
    graph = whole.graph
    early, last = (value.name for value in graph.output)
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output}
    fixed = _fixed(graph)
    first = _needed(graph, makers, early) - fixed
    rest = _needed(graph, makers, last) - first - fixed
    for place in sorted(rest):  # in their order: a limit on integers follows its quantiser
        if _shrinks(graph, first, _sources(graph, makers, place) - fixed, place):
            rest.remove(place)
            first.add(place)
    for place in sorted(first):  # what is back in floats is computed on either side
        node = graph.node[place]
        if node.op_type == "DequantizeLinear" and any(node.output[0] in graph.node[p].input for p in rest):
            rest.add(place)
    first, rest = (places | _constant_sources(graph, makers, fixed, places) for places in (first, rest))
    return _named(whole, sorted(first), sorted(rest))


def _named(whole: ModelProto, first: list[int], rest: list[int]) -> Cut:
    """The cut, what goes on called by its place."""
    graph = whole.graph
    made = {name for place in first if place not in rest for name in graph.node[place].output}
    read = dict.fromkeys(name for place in rest for name in graph.node[place].input if name in made)
    names = {name: f"cut_{number}" for number, name in enumerate(read)}
    forms = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    twice = {name for place in {*first} & {*rest} for name in graph.node[place].output}
    again = names | {name: f"{name}_again" for name in twice}  # one file may hold each name once
    return Cut(
        whole,
        tuple(_with_names(graph.node[place], names) for place in first),
        tuple(_with_names(graph.node[place], again) for place in rest),
        tuple(_renamed(forms[name], new) for name, new in names.items()),
    )


def _with_names(node: NodeProto, names: dict[str, str]) -> NodeProto:
    copied = deepcopy(node)
    copied.input[:] = [names.get(name, name) for name in node.input]
    copied.output[:] = [names.get(name, name) for name in node.output]
    return copied


def _fixed(graph: GraphProto) -> set[int]:
    """The operators that compute with constants alone, which may stand on both sides."""
    known = {tensor.name for tensor in graph.initializer} | {""}
    found = set()
    for place, node in enumerate(graph.node):
        if all(name in known for name in node.input):
            found.add(place)
            known |= set(node.output)
    return found


def _needed(graph: GraphProto, makers: dict[str, int], output: str) -> set[int]:
    """The operators that an output is computed by."""
    found: set[int] = set()
    queue = [output]
    while queue:
        place = makers.get(queue.pop())
        if place is not None and place not in found:
            found.add(place)
            queue += graph.node[place].input
    return found


def _sources(graph: GraphProto, makers: dict[str, int], place: int) -> set[int]:
    """The operators whose outputs one reads."""
    return {makers[name] for name in graph.node[place].input if name in makers}


def _constant_sources(
    graph: GraphProto, makers: dict[str, int], fixed: set[int], places: Iterable[int]
) -> set[int]:
    """The operators on constants that some operators need."""
    found: set[int] = set()
    queue = list(places)
    while queue:
        new = (_sources(graph, makers, queue.pop()) & fixed) - found
        found |= new
        queue += new
    return found


def _shrinks(graph: GraphProto, first: set[int], sources: set[int], place: int) -> bool:
    """Whether an operator behind the cut turns what the first part gives into integers, or limits them."""
    if not sources or not sources <= first:
        return False
    kind, after = graph.node[place].op_type, {graph.node[source].op_type for source in sources}
    return kind == "QuantizeLinear" or (kind == "Clip" and after == {"QuantizeLinear"})


def _decision(early: str, rule: ExitRule, keepdims: int) -> tuple[list[NodeProto], list[TensorProto]]:
    """The operators that make the confidence, (n,) or (n, 1), of the exit's logits, and their constants."""
    numbers = {"temperature": rule.temperature, "threshold": rule.threshold}
    constants = [
        numpy_helper.from_array(np.array(number, np.float32), f"{_DECIDES}{name}")
        for name, number in numbers.items()
    ]
    constants.append(numpy_helper.from_array(np.array([1], np.int64), f"{_DECIDES}axes"))
    scaled, shares, sure = (f"{_DECIDES}{word}" for word in ("scaled", "shares", "confidence"))
    nodes = [
        helper.make_node("Div", [early, f"{_DECIDES}temperature"], [scaled]),
        helper.make_node("Softmax", [scaled], [shares], axis=1),
        helper.make_node("ReduceMax", [shares, f"{_DECIDES}axes"], [sure], keepdims=keepdims),
    ]
    return nodes, constants


def with_rule(model: ModelProto, rule: ExitRule) -> ModelProto:
    """The one file, or the first of two, with another rule: what it costs where none leaves, or all do."""
    changed = deepcopy(model)
    for word, number in (("temperature", rule.temperature), ("threshold", rule.threshold)):
        constant = next(t for t in changed.graph.initializer if t.name == f"{_DECIDES}{word}")
        constant.CopyFrom(numpy_helper.from_array(np.array(number, np.float32), constant.name))
    return changed


def _renamed(value: ValueInfoProto, name: str) -> ValueInfoProto:
    copied = deepcopy(value)
    copied.name = name
    return copied


def _shape(value: ValueInfoProto) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def write_exit_files(cut: Cut, folder: Path, rule: ExitRule) -> dict[str, Path]:
    """Write both forms, by their files' names."""
    first, rest = cut.two_files(rule)
    models = {ONE: cut.one_file(rule), EARLY: first, LATE: rest}
    for name, model in models.items():
        onnx.save(model, str(folder / name))
    return {name: folder / name for name in models}
