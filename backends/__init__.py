"""Where a model runs: one file per runtime, all with the same few methods.

``get(target)`` gives the backend of a target by its name ("onnxruntime-cpu"); the runtime itself is imported
only when a model is loaded, so that asking for what is missing works without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean

if TYPE_CHECKING:
    from raysearch.backends.base import Backend

_HOMES = {
    "litert-cpu": ("raysearch.backends.litert", "LiteRtCpu"),
    "onnxruntime-cpu": ("raysearch.backends.onnxruntime", "OnnxRuntimeCpu"),
    "torch-cpu": ("raysearch.backends.torch", "TorchCpu"),
}


def names() -> tuple[str, ...]:
    """The targets that raysearch knows, whether their runtime is installed or not."""
    return tuple(_HOMES)


def get(target: str) -> Backend:
    """The backend of a target.

    Raises:
        ValueError: raysearch knows no such target; the message names the known ones and the nearest.
    """
    if target not in _HOMES:
        raise UserError(f"target {target!r} is unknown: {did_you_mean(str(target), _HOMES)}")
    module, name = _HOMES[target]
    backend: Backend = getattr(import_module(module), name)()
    return backend
