"""Writing a module to a file that a runtime takes."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from raysearch.basics.failures import UserError, first_line
from raysearch.trainables.export.agreement import Agreement, ExportDisagreement, check_agreement
from raysearch.trainables.export.onnx_exporter import without_repeated_work
from raysearch.trainables.quantization.forms import FLOAT16_WEIGHT, OPSET, float_form, onnx_form

__all__ = ["Agreement", "ExportDisagreement", "check_agreement", "export_onnx", "export_torch"]

FORMS = ("uint8",)


def export_onnx(module: nn.Module, example_input: Tensor, path: Path, form: str = "uint8") -> None:
    """Write the module as ONNX with explicit Q/DQ and a dynamic batch.

    Args:
        module: folded, with quantisers or without; it is left as it is, on its device.
        example_input: (n, ...), any n >= 1.
        path: of the file.
        form: "uint8": every quantised activation is uint8, biases are int32.

    Raises:
        ValueError: the module cannot be exported (layer and operator are named), or an unknown form.
    """
    if form not in FORMS:
        raise UserError(f"form is {form!r}: ONNX is written in one of {', '.join(FORMS)}")
    program = _capture(onnx_form(module), example_input)
    onnx.save(_tidied(_to_onnx(program)), str(path))


def export_torch(module: nn.Module, example_input: Tensor, path: Path) -> None:
    """Write the float network with rounded weights, and no fake quantisers, as an exported program (.pt2).

    Args:
        module: folded, with quantisers or without; it is left as it is, on its device.
        example_input: (n, ...), any n >= 1.
        path: of the file.

    Raises:
        ValueError: the module cannot be exported; layer and operator are named.
    """
    torch.export.save(_capture(float_form(module), example_input), str(path))


def _capture(module: nn.Module, example_input: Tensor) -> ExportedProgram:
    """The module as a program with a dynamic batch."""
    x = example_input.detach().cpu()
    if len(x) < 2:  # a batch of one would be taken for a constant
        x = torch.cat([x, x])
    current: list[str] = []
    handles = [
        m.register_forward_pre_hook(_remember(current, name)) for name, m in module.named_modules() if name
    ]
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(module, (x,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # torch's own errors share no base class
        where = f"layer {current[-1]!r}" if current else f"the model ({type(module).__name__})"
        raise UserError(f"{where} cannot be exported by torch.export: {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()


def _remember(current: list[str], name: str) -> Any:
    """A hook that notes the layer that runs."""

    def hook(module: nn.Module, _: Any) -> None:
        current.append(f"{name} ({type(module).__name__})")

    return hook


def _to_onnx(program: ExportedProgram) -> ModelProto:
    try:
        with _quiet(), without_repeated_work(program):
            exported = torch.onnx.export(
                program,
                dynamo=True,
                # Its optimiser looks at weights' values: the untrained file would differ in structure.
                optimize=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["logits"],
                verbose=False,
            )
    except Exception as error:  # of torch.onnx's internal classes
        raise UserError(_culprit(program, error)) from error
    return cast(Any, exported).model_proto  # type: ignore[no-any-return]


def _culprit(program: ExportedProgram, error: BaseException) -> str:
    """The layer and operator that an error of the exporter is about, as far as its text says."""
    found = re.search(r"op='([\w.]+)'", _chain(error))
    if found is None:
        return f"the model cannot be written as ONNX: {first_line(error)}"
    # The exporter names the operator that one of the program's was decomposed into, whose name contains it.
    name = found[1].rpartition(".")[2].strip("_")
    for node in program.graph.nodes:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        if node.op == "call_function" and stack and name in str(node.target):
            return f"layer {stack[-1][0]!r}: operator {node.target} has no ONNX form"
    return f"operator {found[1]} has no ONNX form"


def _chain(error: BaseException | None) -> str:
    return "" if error is None else f"{error}\n{_chain(error.__cause__)}"


def _tidied(model: ModelProto) -> ModelProto:
    """Without the exporter's notes, and with the global pooling that it wrote as a mean."""
    graph = model.graph
    _restore_pooling(graph)
    _shorten_shapes(graph)
    _drop_unused(graph)
    _halve_weights(graph)
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph, model):
        del item.metadata_props[:]
        item.doc_string = ""
    for node in graph.node:
        node.name = ""
    del graph.value_info[:]
    del model.functions[:]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    return model


def _shorten_shapes(graph: onnx.GraphProto) -> None:
    """Shapes are put together from the sizes themselves, not from sizes made a number and a list again.

    The exporter writes a view of a dynamic batch so, and ONNX's shape inference cannot follow it.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in [n for n in graph.node if n.op_type == "Concat"]:
        for index, name in enumerate(node.input):
            maker = makers.get(name)
            while maker is not None and maker.op_type in ("Reshape", "Squeeze", "Unsqueeze"):
                maker = makers.get(maker.input[0])
            if maker is not None and maker.op_type == "Shape" and _is_one_size(maker):
                node.input[index] = maker.output[0]


def _is_one_size(shape: NodeProto) -> bool:
    """Whether a Shape node gives a single size."""
    limits = {a.name: a.i for a in shape.attribute}
    return bool(limits.get("end", 0) - limits.get("start", 0) == 1)


def _halve_weights(graph: onnx.GraphProto) -> None:
    """Weights of sixteen bits become float16, with a Cast to float behind each."""
    for tensor in graph.initializer:
        if not tensor.name.endswith(FLOAT16_WEIGHT):
            continue
        half, name = numpy_helper.to_array(tensor).astype(np.float16), tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_constant"))
        graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))


def _restore_pooling(graph: onnx.GraphProto) -> None:
    """ReduceMean over height and width becomes GlobalAveragePool, which runtimes compute in integers."""
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op_type != "ReduceMean" or len(node.input) < 2:
            continue
        axes = sorted(_constant(graph, node.input[1]))
        if axes not in ([-2, -1], [2, 3]):
            continue
        keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        output = node.output[0]
        pooled = output if keep else f"{output}_pooled"
        node.CopyFrom(helper.make_node("GlobalAveragePool", node.input[:1], [pooled]))
        if not keep:
            graph.node.insert(index + 1, _flattened(pooled, output))


def _constant(graph: onnx.GraphProto, name: str) -> list[int]:
    """The values of a constant, which the exporter may have reshaped; empty where it is not one."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor).reshape(-1).tolist()
    maker = next((node for node in graph.node if name in node.output), None)
    if maker is None or maker.op_type not in ("Constant", "Reshape"):
        return []
    if maker.op_type == "Reshape":
        return _constant(graph, maker.input[0])
    value = helper.get_attribute_value(maker.attribute[0])
    array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.array(value)
    return array.reshape(-1).tolist()


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nobody reads, from the last one back."""
    for index in reversed(range(len(graph.node))):
        read = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
        if not read & set(graph.node[index].output):
            del graph.node[index]


def _flattened(source: str, target: str) -> NodeProto:
    return helper.make_node("Flatten", [source], [target], axis=1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints, logs and warns of on a success."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
