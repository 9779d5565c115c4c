"""A driver's own modules as text, for workers that do not see its disk.

What the driver has imported of its own, and what lies beside it, goes along with a task. A worker imports a
module from there where its own disk does not have the same file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

MOST = 8_000_000
"""Bytes of modules that go along."""

INSTALLED = {"site-packages", "dist-packages"}  # of an environment inside a user's folder, too
_NEVER = ("raysearch", "__main__")  # workers have the one, and what is in the other is pickled whole


@dataclass(frozen=True)
class Source:
    """A module's text.

    Attributes:
        file: where the driver has it; of a package without a file its folder.
        text: as it is there; None: it was too much.
        package: whether it holds others.
    """

    file: str
    text: bytes | None
    package: bool

    def is_here(self) -> bool:
        """Whether this machine's disk has the same."""
        path = Path(self.file)
        if path.suffix != ".py":
            return path.is_dir()
        try:
            return path.is_file() and self.text in (None, path.read_bytes())
        except OSError:
            return False


def own_sources(places: Sequence[str]) -> dict[str, Source]:
    """Modules by name that were imported from some places, and those beside them, up to ``MOST`` bytes."""
    as_imported = (os.path.abspath(p) for p in sys.path if os.path.realpath(p) in places)  # perhaps by a link
    within = tuple(os.path.join(place, "") for place in {*places, *as_imported})
    loaded = {
        name: Path(file)
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
        and file.startswith(within)
        and file.endswith(".py")
        and not INSTALLED.intersection(Path(file).parts)
        and name.partition(".")[0] not in _NEVER
    }
    found: dict[str, Source] = {}
    left = MOST
    for name, file in [*loaded.items(), *_beside(loaded)]:
        if name in found or not file.is_file():
            continue
        size = file.stat().st_size
        text = file.read_bytes() if size <= left else None
        left -= size if text is not None else 0
        found[name] = Source(str(file), text, file.name == "__init__.py")
    return {**_parents(found), **found}


def _beside(loaded: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """What loaded modules may still import: the files of their folders, with the packages there."""
    folders = {}
    for name, file in loaded.items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        folders[file.parent] = package
    for folder, package in folders.items():
        yield from _inside(folder, f"{package}." if package else "")


def _inside(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py" and file.stem.isidentifier():
            yield f"{prefix}{file.stem}", file
    for init in sorted(folder.glob("*/__init__.py")):
        name = f"{prefix}{init.parent.name}"
        if name not in _NEVER:
            yield name, init
            yield from _inside(init.parent, f"{name}.")


def _parents(found: Mapping[str, Source]) -> dict[str, Source]:
    """The packages without a file that modules lie in."""
    parents: dict[str, Source] = {}
    for name, source in found.items():
        folder = Path(source.file).parent
        folder = folder.parent if source.package else folder
        while "." in name:
            name, folder = name.rpartition(".")[0], folder
            parents.setdefault(name, Source(str(folder), b"", True))
            folder = folder.parent
    return parents


class _Finder(MetaPathFinder, InspectLoader):
    """Finds modules that went along, before a worker's own of the same name."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        source = self.sources.get(fullname)
        if source is None or source.is_here():
            return None
        if source.text is None:
            raise ModuleNotFoundError(
                f"{source.file} is not on this worker, and lies among more than {MOST / 1e6:.0f} MB of "
                "modules: install them on the workers, or give Ray a runtime_env with their folder as "
                "working_dir",
                name=fullname,
            )
        spec = importlib.util.spec_from_loader(fullname, self, origin=source.file, is_package=source.package)
        if spec is not None:
            spec.has_location = True
            if source.package:
                spec.submodule_search_locations = [os.path.dirname(source.file)]
        return spec

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.sources[fullname].text or b"")

    def get_code(self, fullname: str) -> CodeType:
        source = self.sources[fullname]
        return compile(source.text or b"", source.file, "exec", dont_inherit=True)

    def is_package(self, fullname: str) -> bool:
        return self.sources[fullname].package


_finder = _Finder()


def bring(sources: Iterable[tuple[str, Source]]) -> None:
    """Let this process import what went along."""
    _finder.sources.update(sources)
    if _finder.sources and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
