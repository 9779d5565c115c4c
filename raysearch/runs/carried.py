"""Sending a user's objects to workers, whose ``sys.path`` and working directory are not the driver's.

A task holds classes and functions of the user's own modules, which pickle by name. Ray knows the folder of
the driver's script and its working directory, as they were when it was started: not the folder of a study
file, nor what a program added to ``sys.path``. A data set may read files by paths relative to where the
program was started.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.runs.sources import INSTALLED, Source, bring, own_sources


class Carried:
    """An object that, once pickled, is unpickled as itself where the driver's modules and files are found.

    Args:
        content: the object.
    """

    def __init__(self, content: Any) -> None:
        self._content = content

    def __reduce__(self) -> tuple[Any, ...]:
        # Arguments are unpickled in their order: the path is there before the content asks for a module.
        return _unpacked, (_Surroundings(), self._content)


class _Surroundings:
    """The driver's own modules and their places, which come first where it is unpickled, and its folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        places = own_places()
        return _settle, (places, os.getcwd(), own_sources(places))


def own_places() -> list[str]:
    """The entries of ``sys.path`` as absolute paths, without Python's own and those of installed packages."""
    installed = [Path(sysconfig.get_path(p)).resolve() for p in ("stdlib", "purelib", "platlib")]
    places = dict.fromkeys(Path(p).resolve() for p in sys.path)
    own = (p for p in places if p.is_dir() and not INSTALLED & set(p.parts))
    return [str(p) for p in own if not any(p.is_relative_to(i) for i in installed)]


def _settle(places: list[str], folder: str, sources: Mapping[str, Source]) -> None:
    sys.path[:0] = [p for p in places if p not in sys.path]
    bring(sources.items())
    with contextlib.suppress(OSError):  # a machine that does not see the driver's disk has no such folder
        os.chdir(folder)


def _unpacked(_: None, content: Any) -> Any:
    return content
