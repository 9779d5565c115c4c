"""Small ONNX variants to serve: each gives its own number, so that a reply tells which one made it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from raysearch.serving.variants import Servable

SHAPE = (4,)


def onnx_file(path: Path, number: float, work: int = 0, size: int = 4, inputs: int = 1) -> Path:
    """A network of inputs (batch, size) whose three outputs are their sum times 1, 2 and 3, plus ``number``.

    Args:
        path: of the file.
        number: its own.
        work: matrix products beside, each of 256 x 256.
        size: of an example.
        inputs: how many it has, "x0" and so on, which are summed.
    """
    names = [f"x{n}" for n in range(inputs)]
    weights = [
        numpy_helper.from_array(np.outer(np.ones(size), [1, 2, 3]).astype(np.float32), "w"),
        numpy_helper.from_array(np.array([number], np.float32), "number"),
        numpy_helper.from_array((0.001 * np.eye(256)).astype(np.float32), "big0"),
        numpy_helper.from_array(np.array([0.0], np.float32), "zero"),
    ]
    nodes = [helper.make_node("Sum", names, ["x"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    nodes += [helper.make_node("ReduceMean", ["x"], ["seed"], keepdims=1)]
    nodes += [
        helper.make_node("Mul", ["big0", "mean"], ["m0"]),
        helper.make_node("ReduceMean", ["seed"], ["mean"], keepdims=0),
    ][::-1]
    nodes += [helper.make_node("MatMul", [f"m{n}", "big0"], [f"m{n + 1}"]) for n in range(work)]
    nodes += [
        helper.make_node("ReduceMean", [f"m{work}"], ["of_work"], keepdims=0),
        helper.make_node("Mul", ["of_work", "zero"], ["nothing"]),
        helper.make_node("Add", ["y", "number"], ["z"]),
        helper.make_node("Add", ["z", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "served",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name in names],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])],
        weights,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def network_file(
    path: Path,
    nodes: Sequence[Any],
    given: tuple[int, Sequence[int | str]],
    output: Sequence[int | str],
    tensors: Mapping[str, Any] | None = None,
) -> Path:
    """A network of one's own, from "x" to "y".

    Args:
        path: of the file.
        nodes: of ONNX.
        given: the input's type and shape.
        output: the output's shape.
        tensors: constants.
    """
    graph = helper.make_graph(
        list(nodes),
        "own",
        [helper.make_tensor_value_info("x", *given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (tensors or {}).items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def front_folder(folder: Path, numbers: tuple[int, ...] = (1, 2, 3), size: int = 4) -> Path:
    """An exported front of variants v1, v2 ...: the more accurate, the more work."""
    for number in numbers:
        onnx_file(folder / f"v{number}" / "model.onnx", number, 4 * number, size)
    best_first = sorted(numbers, reverse=True)
    rows = [{"trial": f"v{n}", "accuracy": 0.8 + n / 100, "test_accuracy": 0.7 + n / 100} for n in best_first]
    pd.DataFrame(rows).to_csv(folder / "front.csv", index=False)
    return folder


def servables(folder: Path, numbers: tuple[int, ...] = (1, 2, 3)) -> list[Servable]:
    """The same as variants of one's own."""
    front_folder(folder, numbers)
    return [Servable(f"v{n}", folder / f"v{n}" / "model.onnx", 0.7 + n / 100) for n in numbers]


def expected(x: Any, number: float) -> np.ndarray[Any, Any]:
    """What a variant gives."""
    return float(np.sum(x)) * np.array([1, 2, 3]) + number


def ask(*arguments: Any, **options: Any) -> tuple[int, dict[str, str], bytes]:
    """As ``asked``, in an event loop of its own."""
    return asyncio.run(asked(*arguments, **options))


async def asked(
    application: Any,
    path: str,
    body: bytes = b"",
    kind: str = "application/json",
    *,
    method: str = "",
    headers: Mapping[str, str] | None = None,
    query: str = "",
    parts: int = 1,
) -> tuple[int, dict[str, str], bytes]:
    """One request to an ASGI application: status, headers and body of the answer."""
    known = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    step = max(1, -(-len(body) // parts))
    pieces = [body[i : i + step] for i in range(0, len(body), step)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": n < len(pieces) - 1}
        for n, piece in enumerate(pieces)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": path,
        "method": method or ("POST" if body else "GET"),
        "headers": [(k.encode(), v.encode()) for k, v in known.items()],
        "query_string": query.encode(),
    }
    await application(scope, receive, send)
    answered = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(m.get("body", b"") for m in sent[1:])
