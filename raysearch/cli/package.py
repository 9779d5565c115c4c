"""What travels to a cluster with a study file: its folder, without runs and what git ignores."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.basics.files import WEIGHTS, read_text

_ENVIRONMENT = "pyvenv.cfg"  # what Python's environments have
_MIB = 2**20


@dataclass(frozen=True)
class Package:
    """The files that a job is given as its working directory.

    Attributes:
        study: the study file's name in it.
        folder: the folder that is sent.
        excludes: patterns of what is left behind, as Ray reads them beside ``.gitignore`` and ``.rayignore``.
        files: what is sent, by paths inside the folder, with sizes in bytes.
    """

    study: str
    folder: Path
    excludes: tuple[str, ...]
    files: Mapping[str, int]

    @property
    def mib(self) -> float:
        """The size of all files, in MiB."""
        return sum(self.files.values()) / _MIB


def pack(file: Path, overrides: Iterable[str] = (), excludes: Iterable[str] = ()) -> Package:
    """Check a study file and find what has to travel with it; nothing is sent.

    Args:
        file: the study file, whose folder holds the modules that it names.
        overrides: as ``--set`` gives them.
        excludes: patterns of what need not travel, beside runs and environments.

    Raises:
        MissingFile: there is no such file.
        UserError: a mistake in it, a file that it names by a relative path and that does not travel, or more
            data than Ray takes.
    """
    from raysearch.study_file.schema import parse
    from raysearch.study_file.yaml_text import override_key, parse_yaml

    document = parse_yaml(read_text(file, "study file"), file.name)
    for override in overrides:
        override_key(document, override)
    study = parse(document)
    name, folder = file.resolve().name, file.resolve().parent
    patterns = (*excludes, *_left_behind(folder))
    package = Package(name, folder, patterns, _travelling(folder, patterns))
    for key, path in _named(study.task, study.search.warm_start):
        _check_travels(package, key, path)
    if name not in package.files:
        raise UserError(f"{file} does not travel: .gitignore, .rayignore or excludes names it")
    _check_size(package)
    return package


def _left_behind(folder: Path) -> list[str]:
    """Patterns of a folder's run folders and Python environments; Ray leaves .git and .venv itself."""
    from raysearch.record.writing import is_run

    found = []
    for place, folders, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        if inside.parts and (is_run(Path(place)) or _ENVIRONMENT in names or inside == Path("runs")):
            found.append("/" + re.sub(r"([\\*?\[\]])", r"\\\1", inside.as_posix()) + "/")
            folders.clear()
        folders[:] = sorted(name for name in folders if name not in (".git", ".venv", "__pycache__"))
    return found


def _travelling(folder: Path, excludes: Iterable[str]) -> dict[str, int]:
    """The files that Ray would send, with their sizes, by its own rules for ignore files."""
    from ray._private import ray_constants
    from ray._private.runtime_env import packaging

    found: dict[str, int] = {}

    def note(path: Path) -> None:
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.stat().st_size

    patterns = [*ray_constants.get_runtime_env_default_excludes(), *excludes]
    git_too = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    left = packaging._get_excludes(folder, patterns)
    packaging._dir_travel(folder, [left], note, git_too, logging.getLogger(__name__))
    return found


def _named(task: Mapping[str, Any], warm_start: Iterable[str]) -> list[tuple[str, str]]:
    """What a study file names by a path, with the key; of a user's own arguments only they know."""
    paths = [("task.module_folder", task.get("module_folder")), ("task.folder", task.get("folder"))]
    if "import" not in task and Path(str(task.get("weights", ""))).suffix in WEIGHTS:
        paths.append(("task.weights", task["weights"]))
    if task.get("download"):
        paths = [pair for pair in paths if pair[0] != "task.folder"]
    paths += [("search.warm_start", path) for path in warm_start]
    return [(key, str(path)) for key, path in paths if path is not None]


def _check_travels(package: Package, key: str, given: str) -> None:
    if "://" in given or Path(given).expanduser().is_absolute():
        return  # the nodes have to see it, which only they can tell
    path = (package.folder / given).resolve()
    inside = path.relative_to(package.folder).as_posix() if path.is_relative_to(package.folder) else None
    if inside == "." or any(name == inside or name.startswith(f"{inside}/") for name in package.files):
        return
    raise UserError(
        f"{key}: {given} does not travel to the cluster: {package.folder} does, without runs, environments "
        "and what .gitignore and .rayignore name; put it there, or give a path that all nodes see"
    )


def _check_size(package: Package) -> None:
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    if package.mib < GCS_STORAGE_MAX_SIZE / _MIB:
        return
    largest = max(package.files, key=lambda name: package.files[name])
    raise UserError(
        f"{package.folder} has {package.mib:.0f} MiB to send, and Ray takes less than "
        f"{GCS_STORAGE_MAX_SIZE / _MIB:.0f}; the largest file is {largest} "
        f"({package.files[largest] / _MIB:.0f} MiB): name in .rayignore what need not travel, and put data "
        "where all nodes see it"
    )
