"""From a graph module to an exported program, whose parameters are inputs: what exporters take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from raysearch.networks.capture import signature
from raysearch.networks.unlifting import attribute


def lifted(graph_module: fx.GraphModule) -> ExportedProgram:
    """The program of a captured network, as torch.export would give it for the network as it is now.

    Args:
        graph_module: captured, possibly changed since; of operators alone, without modules.
    """
    graph = fx.Graph()
    moved: dict[fx.Node, fx.Node] = {}
    held = {str(n.target): n for n in graph_module.graph.nodes if n.op == "get_attr"}
    tensors = {name: attribute(graph_module, node) for name, node in held.items()}
    fakes = signature(graph_module).fakes
    placeholders = {
        name: _placeholder(graph, name, node, tensors[name], fakes) for name, node in held.items()
    }
    for node in graph_module.graph.nodes:
        if node.op == "get_attr":
            moved[node] = placeholders[str(node.target)]
        elif node.op == "output":
            moved[node] = graph.output(_results(graph, node, moved))
        else:
            moved[node] = graph.node_copy(node, moved.__getitem__)
    graph.eliminate_dead_code()
    inputs = [_held(placeholders[name], name, tensor) for name, tensor in tensors.items()]
    inputs += [_given(moved[n]) for n in graph_module.graph.find_nodes(op="placeholder")]
    outputs = [_result(value) for value in cast(Any, graph.output_node().args[0])]
    return _program(graph_module, graph, ExportGraphSignature(inputs, outputs), tensors)


def _program(
    graph_module: fx.GraphModule,
    graph: fx.Graph,
    graph_signature: ExportGraphSignature,
    tensors: dict[str, Tensor],
) -> ExportedProgram:
    known = signature(graph_module)
    given, found = known.in_spec, _plain(known.out_spec)
    call = ModuleCallSignature([], [], given, found, list(known.arguments))
    return ExportedProgram(
        root=nn.Module(),
        graph=graph,
        graph_signature=graph_signature,
        state_dict=tensors,
        range_constraints=dict(known.ranges),
        module_call_graph=[ModuleCallEntry("", call)],
        verifiers=[torch._export.verifier.TrainingIRVerifier],
    )


def _plain(spec: pytree.TreeSpec) -> pytree.TreeSpec:
    """The form of the outputs; a tuple in place of classes, which are not known wherever it is loaded."""
    kinds, queue = set(), [spec]
    while queue:
        part = queue.pop()
        kinds.add(part.type)
        queue += part.children()
    leaves = (0,) * spec.num_leaves
    return spec if kinds <= {None, tuple, list, dict} else pytree.tree_structure(leaves)


def _placeholder(graph: fx.Graph, name: str, node: fx.Node, tensor: Tensor, fakes: Any) -> fx.Node:
    kind = "p" if isinstance(tensor, nn.Parameter) else "b"
    placeholder = graph.placeholder(re.sub(r"\W", "_", f"{kind}_{name}"))
    placeholder.target = placeholder.name  # an argument of its own, also beside "a_b" where this is "a.b"
    placeholder.meta = {**node.meta, "val": fakes.from_tensor(tensor, static_shapes=True)}
    return placeholder


def _results(graph: fx.Graph, node: fx.Node, moved: dict[fx.Node, fx.Node]) -> tuple[Any, ...]:
    """The outputs, each a node of its own that an operator gives: a file cannot name one tensor twice."""

    def own() -> Iterator[Any]:
        seen: set[fx.Node] = set()
        for value in cast(Any, node.args[0]):
            result = moved[value] if isinstance(value, fx.Node) else value
            if isinstance(result, fx.Node) and (result in seen or result.op == "placeholder"):
                copied = graph.call_function(torch.ops.aten.clone.default, (result,))
                copied.meta = dict(result.meta)
                result = copied
            if isinstance(result, fx.Node):
                seen.add(result)
            yield result

    return tuple(own())


def _held(node: fx.Node, name: str, tensor: Tensor) -> InputSpec:
    parameter = isinstance(tensor, nn.Parameter)
    kind = InputKind.PARAMETER if parameter else InputKind.BUFFER
    return InputSpec(kind, TensorArgument(node.name), name, persistent=None if parameter else True)


def _given(node: fx.Node) -> InputSpec:
    value = node.meta.get("val")
    tensor = isinstance(value, Tensor)
    argument = TensorArgument(node.name) if tensor else ConstantArgument(node.name, value)
    return InputSpec(InputKind.USER_INPUT, argument, None)


def _result(value: Any) -> OutputSpec:
    argument = TensorArgument(value.name) if isinstance(value, fx.Node) else ConstantArgument("", value)
    return OutputSpec(OutputKind.USER_OUTPUT, argument, None)
