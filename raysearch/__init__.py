"""raysearch finds the best trade-offs of a neural network on the hardware it will run on.

The public names load when they are first used: ``import raysearch`` itself pulls in neither torch nor ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from raysearch.version import __version__

if TYPE_CHECKING:
    from raysearch import backends, search_spaces, serving, tasks
    from raysearch.networks.exits import Exits
    from raysearch.results import StudyResult
    from raysearch.study import Study
    from raysearch.trainables.task import Task
    from raysearch.trainables.variant import load_variant

_HOMES = {
    "Exits": "raysearch.networks.exits",
    "Study": "raysearch.study",
    "StudyResult": "raysearch.results",
    "Task": "raysearch.trainables.task",
    "load_variant": "raysearch.trainables.variant",
}
_MODULES = ("backends", "search_spaces", "serving", "tasks")

__all__ = [
    "Exits",
    "Study",
    "StudyResult",
    "Task",
    "__version__",
    "backends",
    "load_variant",
    "search_spaces",
    "serving",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"raysearch.{name}")
    raise AttributeError(f"raysearch has no {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
