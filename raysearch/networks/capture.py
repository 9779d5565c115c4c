"""One reading of a network: torch.export gives its graph, with all shapes, layers' names and a dynamic batch.

Folding, quantisation, static figures and the file that is shipped all work on this graph. It computes what
the network computes in evaluation mode. Its dropouts are modules, so that they come back where it is trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_symbols
from torch.utils import _pytree as pytree

from raysearch.basics.failures import UserError, first_line
from raysearch.basics.quiet import quiet
from raysearch.networks import nests, recurrent
from raysearch.networks.copying import copy_of
from raysearch.networks.functional import make_functional
from raysearch.networks.nests import Nest
from raysearch.networks.running import check_runs
from raysearch.networks.unlifting import unlifted
from raysearch.networks.weights import compute_weights

Varying = Mapping[str, Mapping[int, str]]
"""Axes beside the batch that vary from batch to batch: {input: {axis: what the axis is}}."""

_META = "signature"
_UNKNOWN = "not a known type"  # of an output class
_FIXED = "specialized it to be a constant|inferred to be a constant"
_REASONS = {
    _FIXED: ("it fixes the size of an axis that varies: the batch's, or one that the task names as varying"),
    "data-dependent": "what it does next depends on the values of a tensor",
}


@dataclass(frozen=True)
class Signature:
    """What a captured network takes and gives.

    Attributes:
        inputs: a name for each input tensor.
        outputs: a name for each output tensor.
        in_spec: torch's pytree of (positional arguments, keyword arguments).
        out_spec: torch's pytree of the outputs.
        arguments: the names of the forward's arguments.
        ranges: of the symbols that stand for sizes that vary.
        batch: the symbol that stands for the size of a batch.
        axes: a word for each symbol: "batch", and what the task calls an axis that varies.
        fakes: torch's mode whose tensors without memory stand for the graph's values.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    in_spec: Any
    out_spec: Any
    arguments: tuple[str, ...]
    ranges: Mapping[Any, Any]
    batch: Any
    axes: Mapping[str, str]
    fakes: Any

    def __deepcopy__(self, _: Any) -> Signature:
        """Itself: nothing in it changes, and torch's mode cannot be copied."""
        return self


def capture(model: nn.Module, inputs: Nest, varying: Varying | None = None) -> fx.GraphModule:
    """Read a network.

    Args:
        model: left as it is, on its device.
        inputs: a batch that it takes: a tensor, a tuple (its positional arguments) or a mapping (its
            keywords).
        varying: axes beside the batch that vary.

    Returns:
        A graph module on the CPU, in evaluation mode, with parameters of its own under the model's names (a
        weight that is computed from others is a parameter too). It is called as the model is. A node that
        gives a tensor has one of its shape and type as ``meta["val"]``.

    Raises:
        UserError: the model does not run, or torch.export cannot follow it; the layer and the reason are
            named.
    """
    network = copy_of(model).cpu().eval()
    batch = nests.to_device(nests.map_tensors(Tensor.detach, inputs), "cpu")
    if nests.batch_size(batch) < 2:  # the size one would be taken for a constant
        batch = nests.concatenate([batch, batch])
    program = _exported(network, batch, varying or {})
    graph_module = unlifted(program, type(network).__name__)
    compute_weights(graph_module)
    graph_module.meta[_META] = _signature(program, graph_module, batch, varying or {})
    return graph_module


def signature(graph_module: fx.GraphModule) -> Signature:
    """What a captured network takes and gives; copies of it, and changed graphs, keep this."""
    found: Signature = graph_module.meta[_META]
    return found


def is_captured(graph_module: fx.GraphModule) -> bool:
    """Whether ``capture`` made it, or what it was changed from."""
    return _META in graph_module.meta


def flat_inputs(graph_module: fx.GraphModule, inputs: Nest) -> list[Any]:
    """A batch of inputs as the graph itself takes them, one for each of its placeholders."""
    args, kwargs = nests.arguments(inputs)
    _, keywords = signature(graph_module).in_spec.children()
    ordered = {name: kwargs[name] for name in keywords.context}
    return pytree.tree_leaves((args, ordered))


def _exported(network: nn.Module, inputs: Nest, varying: Varying) -> ExportedProgram:
    args, kwargs = nests.arguments(inputs)
    inside: list[str] = []  # the layers being run, innermost last
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operator for a whole layer, which says nothing
    try:
        with quiet(), torch.no_grad(), recurrent.whole():
            program = _read(network, args, kwargs, _dynamic_shapes(inputs, varying), inside)
            _check_varying(program, inputs, varying)
            if not make_functional(program.graph) or _has_regions(program):
                program = program.run_decompositions({})
            recurrent.restore(program.graph)
            return program
    except Exception as error:  # torch's own errors share no base class, and the model's own code runs here
        check_runs(network, inputs)
        where = f"layer {inside[-1]}" if inside else f"the model ({type(network).__name__})"
        raise UserError(f"{where} cannot be captured by torch.export: {_reason(error)}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _read(
    network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], shapes: Any, inside: list[str]
) -> ExportedProgram:
    """Torch's program of the network; where that fails, ``inside`` is left with the layers that were running.

    Where a size that varies became a number, as by ``len(x)``, the network's code is read instead of run.
    """
    layers = [(name, module) for name, module in network.named_modules() if name]
    hooks: list[Any] = [module.register_forward_pre_hook(_enter(inside, name)) for name, module in layers]
    hooks += [module.register_forward_hook(lambda *_: inside.pop() and None) for _, module in layers]
    try:
        return torch.export.export(network, args, kwargs, dynamic_shapes=shapes)
    except Exception as error:
        if _UNKNOWN in str(error) and nests.see_into(network(*args, **kwargs)):
            return _read(network, args, kwargs, shapes, inside)
        if not re.search(_FIXED, str(error)):
            raise
        failure = error
    finally:
        for hook in hooks:
            hook.remove()
    try:
        return torch.export.export(network, args, kwargs, dynamic_shapes=shapes, strict=True)
    except Exception:
        raise failure from None


def _enter(inside: list[str], name: str) -> Any:
    """A hook that notes the layer that starts."""

    def hook(module: nn.Module, _: Any) -> None:
        inside.append(f"{name!r} ({type(module).__name__})")

    return hook


def _reason(error: Exception) -> str:
    """What is wrong, in a line, where torch's own headline does not say it."""
    found = (said for pattern, said in _REASONS.items() if re.search(pattern, str(error)))
    return next(found, first_line(error))


def _dynamic_shapes(inputs: Nest, varying: Varying) -> Any:
    """For each argument: its first axis is the batch, and the axes that the task names vary too.

    How small the latter may be, and which of them are equal, torch finds out.
    """
    words = iter(nests.names(inputs, "input"))
    size, batch = nests.batch_size(inputs), Dim("batch")

    def axes(leaf: Any) -> dict[int, Any] | None:
        if not isinstance(leaf, Tensor):
            return None
        found: dict[int, Any] = dict.fromkeys(varying.get(next(words), {}), Dim.AUTO)
        return {0: batch, **found} if leaf.dim() and len(leaf) == size else found

    args, kwargs = nests.arguments(inputs)
    return pytree.tree_map(axes, kwargs or args)


def _check_varying(program: ExportedProgram, inputs: Nest, varying: Varying) -> None:
    """Make sure that the axes that the task names do vary in the program."""
    given = [n.meta.get("val") for n in program.graph.nodes if n.name in program.graph_signature.user_inputs]
    tensors = [value for value in given if isinstance(value, Tensor)]
    for name, tensor in zip(nests.names(inputs, "input"), tensors, strict=True):
        for axis, word in varying.get(name, {}).items():
            if not free_symbols(tensor.shape[axis]):
                raise RuntimeError(f"it fixes the size of {name}'s axis {axis} ({word}), which varies")


def _has_regions(program: ExportedProgram) -> bool:
    """Whether parts of the network run under no_grad or autocast, which makes them graphs of their own."""
    return any(str(node.target).startswith("wrap_with_") for node in program.graph.nodes)


def _signature(
    program: ExportedProgram, graph_module: fx.GraphModule, inputs: Nest, varying: Varying
) -> Signature:
    call = program.module_call_graph[0].signature
    given = [node.meta.get("val") for node in graph_module.graph.find_nodes(op="placeholder")]
    results = cast(Any, graph_module.graph.output_node().args[0])
    values = [node.meta.get("val") if isinstance(node, fx.Node) else node for node in results]
    tensors = [v for v in given if isinstance(v, Tensor)]
    batch = next(cast(Any, v.shape[0]).node.expr for v in tensors if v.dim())
    words = {str(batch): "batch"}
    for name, tensor in zip(nests.names(inputs, "input"), tensors, strict=True):
        for axis, word in varying.get(name, {}).items():
            words.setdefault(str(tensor.shape[axis]), word)
    return Signature(
        inputs=tuple(nests.names(inputs, "input")),
        outputs=tuple(nests.names(pytree.tree_unflatten(values, call.out_spec), "output")),
        in_spec=call.in_spec,
        out_spec=call.out_spec,
        arguments=tuple(call.forward_arg_names),
        ranges=dict(program.range_constraints),
        batch=batch,
        axes=words,
        fakes=next(v.fake_mode for v in given if isinstance(v, FakeTensor)),
    )
