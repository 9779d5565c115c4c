"""The adaptor uses no more of TensorRT than its stand-in has, and the stand-in has no more than TensorRT.

The second half needs TensorRT's Python bindings, no GPU. They can be imported without NVIDIA's libraries too:
``docs/targets.md`` says how.
"""

from __future__ import annotations

import ast
import inspect
import re
from enum import IntEnum
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch

from raysearch.backends.runtimes.nvidia import engine, execution, tensorrt

from . import tensorrt_stand_in as stand_in

CLASSES = {
    name: given
    for name, given in vars(stand_in).items()
    if isinstance(given, type) and given.__module__ == stand_in.__name__ and not name.startswith("_")
}
MEMBERS = [
    (name, member)
    for name, given in CLASSES.items()
    for member, value in vars(given).items()
    if not member.startswith("_") or (member == "__init__" and isinstance(value, FunctionType))
]
MADE_BY_US = ("Builder", "OnnxParser", "Runtime", "Dims", "ILogger")


def bindings() -> Any:
    """TensorRT's own, of whatever version is installed."""
    try:
        return pytest.importorskip("tensorrt")
    except OSError as error:
        pytest.skip(f"TensorRT's bindings lack a library: {error}")


@pytest.mark.parametrize("module", [engine, execution, tensorrt], ids=lambda m: m.__name__.split(".")[-1])
def test_every_name_in_the_source_is_in_the_stand_in(module: Any) -> None:
    tree = ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
    chains = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    used = {text for node in chains if (text := ast.unparse(node)).startswith("trt.")}
    for text in used:
        found: Any = stand_in
        for part in text.split(".")[1:]:
            found = getattr(found, part)
    assert used


@pytest.mark.parametrize(("name", "member"), MEMBERS, ids=[".".join(m) for m in MEMBERS])
def test_the_bindings_have_what_the_stand_in_has(name: str, member: str) -> None:
    trt, own = bindings(), getattr(CLASSES[name], member)
    assert hasattr(trt, name)
    found = getattr(getattr(trt, name), member, None)
    assert found is not None, f"TensorRT {trt.__version__} has no {name}.{member}"
    if isinstance(own, IntEnum):
        assert isinstance(found, getattr(trt, name))
    elif isinstance(own, property):
        assert isinstance(found, property)
    elif isinstance(own, FunctionType) and (member != "__init__" or name in MADE_BY_US):
        wanted = [p for p in inspect.signature(own).parameters if p != "self"]
        known = signatures(member, found.__doc__)
        fits = [s for s in known if [*s][: len(wanted)] == wanted and all([*s.values()][len(wanted) :])]
        assert fits, f"{name}.{member}({', '.join(wanted)}) is none of {known}"


def test_the_logger_and_the_types_are_made_of_the_bindings() -> None:
    trt = bindings()
    engine.log.cache_clear()
    logger = engine.log()
    assert isinstance(logger, trt.ILogger)
    for severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.WARNING):
        logger.log(severity, str(severity))
    assert logger.errors == [str(trt.ILogger.Severity.ERROR)]
    assert execution._torch_type(trt.DataType.BF16) is torch.bfloat16


def signatures(name: str, text: str) -> list[dict[str, bool]]:
    """Of each overload that a binding's docstring lists its parameters, with whether they have a default."""
    lines = re.findall(rf"^(?:\d+\. )?{name}\((.*)\) -> ", text, flags=re.MULTILINE)
    return [_parameters(line) for line in lines]


def _parameters(line: str) -> dict[str, bool]:
    found, depth, part = [], 0, ""
    for letter in f"{line},":
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            found.append(part.strip())
            part = ""
        else:
            part += letter
    return {p.partition(":")[0]: "=" in p for p in found if p and p.partition(":")[0] != "self"}


def test_signatures_are_read_from_docstrings() -> None:
    text = "f(*args, **kwargs)\nOverloaded.\n\n1. f(self: a.B, x: Dict[str, int], y: int = <C.D: 0>) -> None"
    assert signatures("f", text) == [{"x": False, "y": True}]
