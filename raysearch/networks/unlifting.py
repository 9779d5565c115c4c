"""From an exported program, whose parameters are inputs, to a graph module that holds them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo

aten = torch.ops.aten
_HELD = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
# What the exporter notes about sizes and types: it was checked when the network was read.
_CHECKS = ("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range")
_PADDED = {getattr(aten, f"conv{n}d").padding: getattr(aten, f"conv{n}d").default for n in (1, 2, 3)}
_DROPOUTS = {aten.dropout.default: nn.Dropout, aten.feature_dropout.default: nn.Dropout2d}


def unlifted(program: ExportedProgram, name: str) -> fx.GraphModule:
    """The program as a module that is called as the network was, in evaluation mode.

    Args:
        program: of functional operators.
        name: of the module's class.

    Returns:
        A module that holds what the graph reads, under the network's own names. A tensor with several names
        has the first; batch norms are one operator each; dropouts are modules, which do nothing in
        evaluation.
    """
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    root, graph = nn.Module(), fx.Graph()
    moved: dict[fx.Node, fx.Node] = {}
    first_names = _first_names(program)
    for node in program.graph.nodes:
        spec = specs.get(node.name) if node.op == "placeholder" else None
        if spec is not None and spec.kind in _HELD:
            if node.users:
                moved[node] = graph.get_attr(_hold(root, program, spec, first_names))
                moved[node].meta = dict(node.meta)
        elif node.op == "output":
            kinds = [spec.kind for spec in program.graph_signature.output_specs]
            results = [n for n, k in zip(node.args[0], kinds, strict=True) if k is OutputKind.USER_OUTPUT]
            graph.output(tuple(moved.get(n, n) if isinstance(n, fx.Node) else n for n in results))
        elif node.target is aten.alias.default:  # the same tensor again
            moved[node] = moved[cast(fx.Node, node.args[0])]
        elif not any(check in str(node.target) for check in _CHECKS):
            moved[node] = graph.node_copy(node, moved.__getitem__)
    _restore_batch_norms(graph)
    _restore_dropouts(graph, root)
    _write_out(graph)
    call = program.module_call_graph[0].signature
    graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(list(call.forward_arg_names), call.in_spec, call.out_spec)))
    return finished(fx.GraphModule(root, graph, name).eval())


def finished(graph_module: fx.GraphModule) -> fx.GraphModule:
    """The module after changes to its graph: without what nobody reads, checked, its code written anew."""
    graph_module.graph.eliminate_dead_code()
    read = {str(n.target) for n in graph_module.graph.nodes if n.op in ("get_attr", "call_module")}
    for name, _ in [*graph_module.named_parameters(), *graph_module.named_buffers()]:
        owner, _, attribute = name.rpartition(".")
        if name not in read and owner not in read:
            delattr(graph_module.get_submodule(owner), attribute)
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def attribute(graph_module: fx.GraphModule, node: Any) -> torch.Tensor:
    """The parameter or buffer that a node reads."""
    owner, _, name = str(node.target).rpartition(".")
    found: torch.Tensor = getattr(graph_module.get_submodule(owner), name)
    return found


def hold(root: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put a parameter or buffer under a dotted name, making the modules on the way."""
    owner, _, attribute = name.rpartition(".")
    if isinstance(tensor, nn.Parameter):
        _place(root, owner).register_parameter(attribute, tensor)
    else:
        _place(root, owner).register_buffer(attribute, tensor)


def hold_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module under a dotted name, making the modules on the way."""
    owner, _, attribute = name.rpartition(".")
    _place(root, owner).add_module(attribute, module)


def _place(root: nn.Module, path: str) -> nn.Module:
    place = root
    for step in filter(None, path.split(".")):
        if not hasattr(place, step):
            place.add_module(step, nn.Module())
        place = getattr(place, step)
    return place


def _first_names(program: ExportedProgram) -> dict[int, str]:
    """The name of each tensor that the program was given, by identity."""
    names: dict[int, str] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind in _HELD:
            names.setdefault(id(_given(program, spec)), str(spec.target))
    return names


def _given(program: ExportedProgram, spec: Any) -> torch.Tensor:
    tensors = program.state_dict if spec.target in program.state_dict else program.constants
    found: torch.Tensor = tensors[spec.target]
    return found


def _hold(root: nn.Module, program: ExportedProgram, spec: Any, first_names: dict[int, str]) -> str:
    """The name under which the module holds a tensor that the program was given."""
    tensor = _given(program, spec)
    name = first_names[id(tensor)]
    hold(root, name, tensor)
    return name


def _restore_batch_norms(graph: fx.Graph) -> None:
    """One operator for a batch norm, also where torch's own functionalisation wrote another."""
    for node in list(graph.nodes):
        if node.target is not aten._native_batch_norm_legit_no_training.default:
            continue
        *tensors, momentum, eps = node.args
        with graph.inserting_before(node):
            norm = graph.call_function(aten.batch_norm.default, (*tensors, False, momentum, eps, False))
        for item in list(node.users):
            norm.meta = dict(item.meta)
            item.replace_all_uses_with(norm)
            graph.erase_node(item)
        graph.erase_node(node)


def _write_out(graph: fx.Graph) -> None:
    """Conversions of type, and padding by a word, as the operators that exporters have a form for."""
    for node in graph.nodes:
        if node.target is aten.to.dtype and len(node.args) == 2:
            x, dtype = node.args
            node.target, node.args, node.kwargs = aten._to_copy.default, (x,), {"dtype": dtype}
        elif node.target in _PADDED:
            _write_padding(node)


def _write_padding(node: fx.Node) -> None:
    """The number of zeros on each side, where both sides have the same."""
    arguments = [*node.args, *(None, 1, "valid", 1, 1)[len(node.args) - 2 :]]
    padding, dilation = arguments[4], arguments[5]
    kernel = cast(fx.Node, node.args[1]).meta["val"].shape[2:]
    dilations = list(dilation) if isinstance(dilation, (list, tuple)) else [dilation] * len(kernel)
    if len(dilations) == 1:
        dilations *= len(kernel)
    total = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    if padding == "same" and any(t % 2 for t in total):
        return
    arguments[4] = [t // 2 for t in total] if padding == "same" else [0] * len(kernel)
    arguments[3] = arguments[3] if isinstance(arguments[3], (list, tuple)) else [arguments[3]] * len(kernel)
    arguments[5] = dilations
    node.target, node.args = _PADDED[node.target], tuple(arguments)


def _restore_dropouts(graph: fx.Graph, root: nn.Module) -> None:
    for node in list(graph.nodes):
        if node.target in _DROPOUTS:
            name = f"{node.name}_in_training"
            root.add_module(name, _DROPOUTS[node.target](float(node.args[1])))
            node.op, node.target, node.args = "call_module", name, node.args[:1]
            node.meta["dropout"] = True
