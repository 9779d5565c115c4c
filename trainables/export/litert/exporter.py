"""Writing a captured network as .tflite, by litert-torch: LiteRT's format, of phones and microcontrollers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.symbolic_shapes import free_symbols

from raysearch.backends import tflite
from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.litert import interpreter
from raysearch.basics import extras
from raysearch.basics.failures import UserError, failure
from raysearch.basics.quiet import quiet
from raysearch.networks import operators
from raysearch.networks.capture import signature
from raysearch.trainables.export.litert.form import layer_of_label, litert_form
from raysearch.trainables.quantization.quantizer import Quantizer

EXTRA = "litert"


def export_litert(graph_module: fx.GraphModule, path: Path, batch: int = 1) -> None:
    """Write a network for LiteRT: what has quantisers in int8, with the steps that the network has learnt.

    Inputs and outputs have the network's own names and layouts. Those that are rounded are int8 in the file,
    with a scale and a zero point.

    Args:
        graph_module: captured and folded, with quantisers or without, best from ``rounded_throughout``; it is
            left as it is.
        path: of the file.
        batch: how many inputs the file takes at once, always.

    Raises:
        MissingExtra: litert-torch is not installed.
        UserError: another axis than the batch varies; or an operator has no LiteRT form.
    """
    litert_torch = extras.load("litert_torch", EXTRA)
    inputs = example_inputs(graph_module, batch)
    quantized = any(isinstance(m, Quantizer) and m.integer for m in graph_module.modules())
    network = _Flat(litert_form(graph_module)).eval()
    try:
        with quiet():
            model = litert_torch.convert(
                network, sample_kwargs=inputs, quant_config=_integers() if quantized else None
            )
            model.export(str(path))
    except Exception as error:  # of torch, of MLIR and of the converter, which share no base class
        raise UserError(_culprit(network.body, error)) from error
    _check_operators(path)


def example_inputs(graph_module: fx.GraphModule, batch: int) -> dict[str, Tensor]:
    """Zeros of the shapes and types that the file takes, by the names of the inputs.

    Raises:
        UserError: an axis beside the batch's varies.
    """
    known = signature(graph_module)
    given = [n.meta.get("val") for n in graph_module.graph.find_nodes(op="placeholder")]
    tensors = [value for value in given if isinstance(value, Tensor)]
    found = {}
    for name, tensor in zip(known.inputs, tensors, strict=True):
        for axis, size in enumerate(tensor.shape):
            if free_symbols(size) - {known.batch}:
                word = known.axes.get(str(size), "it")
                raise UserError(
                    f"{name}'s axis {axis} ({word}) varies, and a .tflite file has fixed shapes: "
                    "leave it out of varying, or choose another target"
                )
        shape = [
            size if isinstance(size, int) else int(size.node.expr.subs(known.batch, batch))
            for size in tensor.shape
        ]
        found[name] = torch.zeros(shape, dtype=tensor.dtype)
    return found


class _Flat(nn.Module):
    """A captured network that takes its tensors, and gives them, by their names in a file."""

    def __init__(self, body: fx.GraphModule) -> None:
        super().__init__()
        known = signature(body)
        self.outputs = known.outputs
        self.fixed = [n.meta.get("val") for n in body.graph.find_nodes(op="placeholder")]
        _own_outputs(body.graph)
        self.body = body

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        given = iter(inputs.values())
        arguments = [next(given) if isinstance(value, Tensor) else value for value in self.fixed]
        with (
            torch.fx.traceback.preserve_node_meta()
        ):  # by which torch.export keeps what nodes are labelled with
            results = fx.Interpreter(self.body).run(*arguments, enable_io_processing=False)
        tensors = [result for result in results if isinstance(result, Tensor)]
        return dict(zip(self.outputs, tensors, strict=True))


def _own_outputs(graph: fx.Graph) -> None:
    """Copy what is given twice or is an input: a file's outputs are tensors of their own."""
    node = graph.output_node()
    seen: set[fx.Node] = set()
    results = []
    for value in cast(Any, node.args[0]):
        if isinstance(value, fx.Node) and (value in seen or value.op in ("placeholder", "get_attr")):
            with graph.inserting_before(node):
                value = graph.call_function(torch.ops.aten.clone.default, (value,))
        if isinstance(value, fx.Node):
            seen.add(value)
        results.append(value)
    node.args = (tuple(results),)


def _integers() -> Any:
    """The setting by which the converter computes in integers between Quantize and Dequantize pairs."""
    pt2e = extras.load("litert_torch.quantize.pt2e_quantizer", EXTRA)
    quantizer = pt2e.PT2EQuantizer().set_global(pt2e.get_symmetric_quantization_config())
    return extras.load("litert_torch.quantize.quant_config", EXTRA).QuantConfig(pt2e_quantizer=quantizer)


def _culprit(body: fx.GraphModule, error: BaseException) -> str:
    """The layer and operator that an error of the converter is about, as far as its text says."""
    found = re.search(r"Lowering not found: ([\w.]+)", str(error))
    if found is None:
        return f"the model cannot be written for LiteRT: {failure(error)}"
    # The converter names the operator that one of the graph's was decomposed into.
    name = found[1].split(".")[1].strip("_")
    for node in body.graph.nodes:
        own = operators.name_of(node).strip("_")
        if own and (own.startswith(name) or name.startswith(own)):
            return _no_form(layer_of_label(node), own)
    return f"operator {name} has no LiteRT form"


def _check_operators(path: Path) -> None:
    """Make sure that LiteRT runs what the converter wrote, which may hold operators of its own language."""
    try:
        interpreter(path, "LiteRT", "builtin")
    except MeasurementError as error:
        found = re.search(r"opcode '(\w+)'", str(error))
        layers = [op.layer for op in tflite.operators(path) if found and op.name == found[1]]
        path.unlink()
        raise UserError(_no_form(layers[0], found[1]) if found and layers else str(error)) from error


def _no_form(layer: str, operator: str) -> str:
    where = f"layer {layer!r}: " if layer else ""
    return f"{where}operator {operator} has no LiteRT form"
