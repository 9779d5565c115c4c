"""Where a model runs: one file per runtime, all with the same few methods.

``get(target)`` gives the backend of a target, named ("onnxruntime-cpu") or described ({"name": "two threads",
"runtime": "onnxruntime-cpu", "threads": 2}); the runtime itself is imported only when a model is loaded, so
that asking for what is missing works without it. Packages add targets of their own by the entry point group
"raysearch.targets", whose names are runtimes and whose objects are classes such as OnnxRuntimeCpu.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from raysearch.backends.place import KEYS as _PLACE_KEYS
from raysearch.basics.failures import UserError, first_line
from raysearch.basics.spelling import did_you_mean

if TYPE_CHECKING:
    from raysearch.backends.base import Backend

Spec = str | Mapping[str, Any]
"""A target as a study file has it: its name, or a mapping of "name", "runtime" and the runtime's options."""

_GROUP = "raysearch.targets"
_HOMES = {
    "onnxruntime-cpu": ("raysearch.backends.runtimes.onnxruntime", "OnnxRuntimeCpu"),
    "openvino-cpu": ("raysearch.backends.runtimes.openvino", "OpenVino"),
    "openvino-gpu": ("raysearch.backends.runtimes.openvino", "OpenVino"),
    "openvino-npu": ("raysearch.backends.runtimes.openvino", "OpenVino"),
    "litert-cpu": ("raysearch.backends.runtimes.litert", "LiteRtCpu"),
    **{
        f"ethos-{size}": ("raysearch.backends.runtimes.ethos_u", "EthosU")
        for size in ("u55-128", "u55-256", "u65-512", "u85-512")
    },
    "tflite-micro": ("raysearch.backends.runtimes.tflite_micro", "TfliteMicro"),
    **{
        f"torch-{way}": ("raysearch.backends.runtimes.torch", "Torch")
        for way in ("cpu", "compile-cpu", "aoti-cpu", "cuda", "compile-cuda", "aoti-cuda", "cuda-graphs")
    },
    "tensorrt": ("raysearch.backends.runtimes.nvidia.tensorrt", "TensorRt"),
    **{
        f"onnxruntime-{provider}": ("raysearch.backends.runtimes.nvidia.onnxruntime_gpu", "OnnxRuntimeGpu")
        for provider in ("cuda", "tensorrt", "tensorrt-rtx")
    },
    "qnn-htp": ("raysearch.backends.runtimes.qnn.target", "QnnHtp"),
    **{
        f"tpu-{chip}": ("raysearch.backends.runtimes.tpu.target", "class_of")
        for chip in ("v4", "v5e", "v5p", "v6e")
    },
}
_ON_BOARD = ("raysearch.backends.boards.target", "OnBoard")
_ON_NODES = ("raysearch.backends.on_nodes", "OnNodes")
_BOARD_KEYS = frozenset({"ssh", "command", "python", "identity", "config", "connect_timeout_s"})
_HERE_ALONE = ("tpu-", "qnn-")  # what they say depends on the machine that asks
_METERS = ("nvml", "rapl")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def names() -> tuple[str, ...]:
    """The runtimes that raysearch knows, whether they are installed or not; those of other packages last."""
    return (*_HOMES, *sorted(_others()))


def get(target: Spec) -> Backend:
    """The backend of a target.

    Args:
        target: the name of a runtime; or a mapping with "runtime", and if wished "name" and options.

    Raises:
        UserError: raysearch knows no such runtime, or it has no such option; the message names the nearest.
    """
    if not isinstance(target, str | Mapping):
        raise UserError(f"target {target!r} is none: give a name, or a mapping with a runtime")
    given: dict[str, Any] = {"name": target} if isinstance(target, str) else dict(target)
    if unnamed := [key for key in ("name", "runtime") if not isinstance(given.get(key, ""), str)]:
        raise UserError(f"target {target!r}: its {unnamed[0]} is {given[unnamed[0]]!r}, give a text")
    runtime = given.pop("runtime", given.get("name", ""))
    name = given.pop("name", runtime)
    if runtime not in names():
        raise UserError(f"target {runtime!r} is unknown: {did_you_mean(runtime, names())}")
    if not _NAME.fullmatch(name):
        raise UserError(f"the target's name is {name!r}: give letters, digits, '.', '-' and '_'")
    home = _class_of(runtime)
    there = {key: given.pop(key) for key in _PLACE_KEYS & given.keys()}
    board = {key: given.pop(key) for key in _BOARD_KEYS & given.keys()}
    _check_options(name, given, home)
    if isinstance(given.get("meter"), list):  # a target can be hashed
        given["meter"] = tuple(given["meter"])
    backend: Backend = home(runtime=runtime, name=name, **given)
    if there and board:
        raise UserError(
            f"target {name!r} is on a board and on nodes of the cluster: give {min(board)} or {min(there)}"
        )
    if (there or board) and runtime.startswith(_HERE_ALONE):
        raise UserError(f"target {name!r}: {runtime} is used where the search runs, not on nodes or boards")
    if there or board:
        elsewhere: Backend = _named(*(_ON_BOARD if board else _ON_NODES)).of(backend, board or there)
        return elsewhere
    return backend


def spec_of(backend: Backend) -> Spec:
    """What ``get`` makes this backend of: its name where that says all."""
    inner = getattr(backend, "inner", None)
    if inner is not None:
        return {**_given(inner), **backend.spec()}  # type: ignore[attr-defined]
    given = _given(backend)
    return backend.name if given == {"name": backend.name, "runtime": backend.name} else given


def _given(backend: Backend) -> dict[str, Any]:
    return {
        f.name: _plain(getattr(backend, f.name))
        for f in fields(backend)  # type: ignore[arg-type]
        if f.name in ("name", "runtime") or f.default is MISSING or getattr(backend, f.name) != f.default
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def options_of(runtime: str) -> tuple[str, ...]:
    """The options that targets of a runtime take beside their name."""
    return tuple(f.name for f in fields(_class_of(runtime)) if f.name not in ("name", "runtime"))


def _class_of(runtime: str) -> Any:
    if runtime not in _HOMES:
        try:
            return _others()[runtime].load()
        except Exception as error:  # whatever another package raises
            raise UserError(f"target {runtime!r} cannot be imported: {first_line(error)}") from error
    home = _named(*_HOMES[runtime])
    return home if isinstance(home, type) else home(runtime)


def _named(module: str, name: str) -> Any:
    """A class, or what gives one for a runtime, by where it stands; imported only now."""
    return getattr(import_module(module), name)


@cache
def _others() -> dict[str, EntryPoint]:
    """What other packages offer, by runtime."""
    return {entry.name: entry for entry in entry_points(group=_GROUP) if entry.name not in _HOMES}


def _check_options(name: str, given: Mapping[str, Any], home: Any) -> None:
    """Refuse options that the runtime does not have, and numbers that none can be."""
    known = [
        *(f.name for f in fields(home) if f.name not in ("name", "runtime")),
        *sorted(_PLACE_KEYS | _BOARD_KEYS),
    ]
    for option, value in given.items():
        if option not in known:
            raise UserError(f"target {name!r} has the option {option!r}: {did_you_mean(option, known)}")
        if option in ("threads", "batch") and (type(value) is not int or value < 1):
            raise UserError(f"target {name!r}: {option} is {value!r}, give a whole number from 1 on")
        if option == "meter" and value is not None and not _is_meter(value):
            raise UserError(
                f"target {name!r}: meter is {value!r}, give nvml, rapl or a command, a list of words"
            )


def _is_meter(value: Any) -> bool:
    words = isinstance(value, (list, tuple)) and bool(value) and all(isinstance(w, str) and w for w in value)
    return words or value in _METERS
