"""Torch's ONNX exporter without the work that it repeats for each model.

Three quarters of an export's time go into building a registry that is the same every time, and into
decomposing operators that have an ONNX form as they are. Both steps are private to torch: where a release has
moved them, the exporter simply runs as it is.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from functools import cache
from types import BuiltinFunctionType
from typing import Any
from unittest import mock

import torch
from torch.export import ExportedProgram

try:
    from torch.onnx._internal.exporter import _decomp, _fx_passes, _registration

    _make_registry = _registration.ONNXRegistry.from_torchlib
    _decompose = _fx_passes.decompose_with_registry
    _implemented = _decomp.get_onnx_implemented_overloads
except (ImportError, AttributeError):
    _registration = None  # type: ignore[assignment]


@contextlib.contextmanager
def without_repeated_work(program: ExportedProgram) -> Iterator[None]:
    """While it lasts, ``torch.onnx.export`` of the program skips what it need not do.

    Args:
        program: the one to be exported.
    """
    if _registration is None:
        yield
        return

    def decompose(given: ExportedProgram, registry: Any) -> ExportedProgram:
        return (
            given if _needs_nothing(program, _known(registry.opset_version)) else _decompose(given, registry)
        )

    with (
        mock.patch.object(_registration.ONNXRegistry, "from_torchlib", staticmethod(_registry)),
        mock.patch.object(_fx_passes, "decompose_with_registry", decompose),
    ):
        yield


@cache
def _registry(opset_version: int) -> Any:
    return _make_registry(opset_version=opset_version)


@cache
def _known(opset_version: int) -> frozenset[Any]:
    """The operators that have an ONNX form: torch's by name, and Python's own, which compute with sizes."""
    registry = _registry(opset_version)
    python = (function for function in registry.functions if isinstance(function, BuiltinFunctionType))
    return frozenset([*map(str, _implemented(registry)), *python, operator.getitem])


def _needs_nothing(program: ExportedProgram, known: frozenset[Any]) -> bool:
    """Whether every operator has an ONNX form, and none writes into its input."""
    return all(_is_ready(n.target, known) for n in program.graph.nodes if n.op == "call_function")


def _is_ready(target: Any, known: frozenset[Any]) -> bool:
    if not isinstance(target, torch._ops.OpOverload):
        return target in known
    return not target._schema.is_mutable and (target.namespace == "onnx_symbolic" or str(target) in known)
