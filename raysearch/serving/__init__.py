"""A front that serves: for each request the most accurate variant with which all that wait are in time."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysearch.serving.router import Reply, Router, TooLate
    from raysearch.serving.variants import Servable

_HOMES = {
    "Reply": "raysearch.serving.router",
    "Router": "raysearch.serving.router",
    "Servable": "raysearch.serving.variants",
    "TooLate": "raysearch.serving.router",
}

__all__ = ["Reply", "Router", "Servable", "TooLate"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"raysearch.serving has no {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
