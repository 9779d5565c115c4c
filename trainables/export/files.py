"""Writing a captured network to a file that a runtime takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from onnx import ModelProto
from torch import fx
from torch.export import ExportedProgram

from raysearch.backends.base import Form
from raysearch.basics.failures import UserError, failure
from raysearch.basics.quiet import quiet
from raysearch.networks.capture import signature
from raysearch.networks.lifting import lifted
from raysearch.trainables.export.forms import float_form, onnx_form
from raysearch.trainables.export.onnx_exporter import without_repeated_work
from raysearch.trainables.export.symbols import OPSET
from raysearch.trainables.export.tidying import name_axes, tidied


def export_onnx(graph_module: fx.GraphModule, path: Path, form: Form = "uint8") -> None:
    """Write a network as ONNX with explicit Q/DQ, its batch and the axes that the task names dynamic.

    Args:
        graph_module: captured and folded, with quantisers or without; it is left as it is.
        path: of the file.
        form: "uint8" has quantised activations in uint8 and biases in int32; "int8" has them in int8 around a
            zero point of 0 and in float.

    Raises:
        UserError: an operator has no ONNX form; it is named with its layer. Or a quantiser's integers do not
            fit in int8, where the form asks for that.
    """
    program = lifted(onnx_form(graph_module, signed=form == "int8"))
    known = signature(graph_module)
    model = tidied(_to_onnx(program, known.inputs, known.outputs))
    name_axes(model, known.axes)
    onnx.save(model, str(path))


def export_torch(graph_module: fx.GraphModule, path: Path) -> None:
    """Write the float network with rounded weights, and no fake quantisers, as an exported program (.pt2).

    Args:
        graph_module: captured and folded, with quantisers or without; it is left as it is.
        path: of the file.
    """
    torch.export.save(lifted(float_form(graph_module)), str(path))


def _to_onnx(program: ExportedProgram, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> ModelProto:
    try:
        with quiet(), without_repeated_work(program):
            exported = torch.onnx.export(
                program,
                dynamo=True,
                # Its optimiser looks at weights' values: the untrained file would differ in structure.
                optimize=False,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                verbose=False,
            )
    except Exception as error:  # of torch.onnx's internal classes
        raise UserError(_culprit(program, error)) from error
    return cast(Any, exported).model_proto  # type: ignore[no-any-return]


def _culprit(program: ExportedProgram, error: BaseException) -> str:
    """The layer and operator that an error of the exporter is about, as far as its text says."""
    causes = list(_chain(error))
    found = re.search(r"op='([\w.]+)'", "\n".join(map(str, causes)))
    if found is None:
        return f"the model cannot be written as ONNX: {failure(causes[-1])}"
    # The exporter names the operator that one of the program's was decomposed into: erf_inv for erfinv.
    name = _plain(found[1])
    for node in program.graph.nodes:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        own = _plain(getattr(node.target, "_opname", ""))
        if stack and (name in own or (len(own) > 3 and name.startswith(own))):
            return f"layer {stack[-1][0]!r}: operator {node.target} has no ONNX form"
    return f"operator {found[1]} has no ONNX form"


def _plain(operator: str) -> str:
    return operator.rpartition(".")[2].replace("_", "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__
