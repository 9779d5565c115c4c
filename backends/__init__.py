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

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean

if TYPE_CHECKING:
    from raysearch.backends.base import Backend

Spec = str | Mapping[str, Any]
"""A target as a study file has it: its name, or a mapping of "name", "runtime" and the runtime's options."""

_GROUP = "raysearch.targets"
_TPU = ("raysearch.backends.tpu.target", "class_of")
_HOMES = {
    "onnxruntime-cpu": ("raysearch.backends.onnxruntime", "OnnxRuntimeCpu"),
    "openvino-cpu": ("raysearch.backends.openvino", "OpenVino"),
    "openvino-gpu": ("raysearch.backends.openvino", "OpenVino"),
    "openvino-npu": ("raysearch.backends.openvino", "OpenVino"),
    "qnn-htp": ("raysearch.backends.qnn.target", "QnnHtp"),
    "torch-cpu": ("raysearch.backends.torch", "TorchCpu"),
    "tpu-v4": _TPU,
    "tpu-v5e": _TPU,
    "tpu-v5p": _TPU,
    "tpu-v6e": _TPU,
}
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
    given = {"name": target} if isinstance(target, str) else dict(target)
    if unnamed := [key for key in ("name", "runtime") if not isinstance(given.get(key, ""), str)]:
        raise UserError(f"target {target!r}: its {unnamed[0]} is {given[unnamed[0]]!r}, give a text")
    runtime = given.pop("runtime", given.get("name", ""))
    name = given.pop("name", runtime)
    if runtime not in names():
        raise UserError(f"target {runtime!r} is unknown: {did_you_mean(runtime, names())}")
    if not _NAME.fullmatch(name):
        raise UserError(f"the target's name is {name!r}: give letters, digits, '.', '-' and '_'")
    home = _class_of(runtime)
    _check_options(name, given, home)
    backend: Backend = home(runtime=runtime, name=name, **given)
    return backend


def spec_of(backend: Backend) -> Spec:
    """What ``get`` makes this backend of: its name where that says all."""
    given = {
        f.name: getattr(backend, f.name)
        for f in fields(backend)  # type: ignore[arg-type]
        if f.name in ("name", "runtime") or f.default is MISSING or getattr(backend, f.name) != f.default
    }
    return backend.name if given == {"name": backend.name, "runtime": backend.name} else given


def options_of(runtime: str) -> tuple[str, ...]:
    """The options that targets of a runtime take beside their name."""
    return tuple(f.name for f in fields(_class_of(runtime)) if f.name not in ("name", "runtime"))


def _class_of(runtime: str) -> Any:
    if runtime in _HOMES:
        module, name = _HOMES[runtime]
        home = getattr(import_module(module), name)
        return home if isinstance(home, type) else home(runtime)
    return _others()[runtime].load()


@cache
def _others() -> dict[str, EntryPoint]:
    """What other packages offer, by runtime."""
    return {entry.name: entry for entry in entry_points(group=_GROUP) if entry.name not in _HOMES}


def _check_options(name: str, given: Mapping[str, Any], home: Any) -> None:
    """Refuse options that the runtime does not have, and numbers that none can be."""
    known = [f.name for f in fields(home) if f.name not in ("name", "runtime")]
    for option, value in given.items():
        if option not in known:
            raise UserError(f"target {name!r} has the option {option!r}: {did_you_mean(option, known)}")
        if option in ("threads", "batch") and (type(value) is not int or value < 1):
            raise UserError(f"target {name!r}: {option} is {value!r}, give a whole number from 1 on")
