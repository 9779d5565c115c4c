"""Reading a study file, and making its task.

``load`` reads and checks a file without torch or Ray; ``raysearch.study.study_of`` makes its Study, and
``raysearch.sweeps.sweep.plan_of`` its sweep.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.basics.failures import UserError, failure
from raysearch.basics.files import WEIGHTS, read_text
from raysearch.basics.spelling import did_you_mean
from raysearch.storage import folder_of
from raysearch.study_file.schema import StudyFile, parse
from raysearch.study_file.yaml_text import import_object, override_key, parse_yaml

if TYPE_CHECKING:
    from raysearch.trainables.task import Task


def load(path: Path, overrides: Iterable[str] = ()) -> StudyFile:
    """Read a study file and apply overrides.

    Args:
        path: the YAML file. A relative ``task.folder`` is taken from the file's own folder, where the module
            of a ``task.import`` is looked for first.
        overrides: "search.num_trials=64": a key's path and its new value in YAML.

    Raises:
        MissingFile: there is no such file.
        UserError: one line per mistake.
    """
    document = parse_yaml(read_text(path, "study file"), path.name)
    for override in overrides:
        override_key(document, override)
    study = parse(document)
    _resolve_paths(study, path.parent)
    return study


def build_task(source: Mapping[str, Any]) -> Task:
    """Make the task of a study file's ``task``.

    Raises:
        UserError: its arguments, import path or folder are wrong.
    """
    arguments = dict(source)
    if "import" in arguments:
        name, folder = str(arguments.pop("import")), arguments.pop("module_folder", None)
        function = import_object(name, Path(folder) if folder else None)
    else:
        from raysearch import tasks

        name = arguments.pop("name")
        function = getattr(tasks, name)
    task = _call_task(name, function, arguments)
    task.source = dict(source)
    return task


def _resolve_paths(study: StudyFile, base: Path) -> None:
    """Make the file's paths absolute, so that the run can be resumed from anywhere."""
    task = study.task
    if "folder" in task:
        folder = (base / Path(str(task["folder"])).expanduser()).resolve()
        if not folder.is_dir() and not task.get("download"):
            raise UserError(f"task.folder: {folder} does not exist")
        task["folder"] = str(folder)
    # Of a task of the user's own only its author knows what an argument is.
    if "import" not in task and Path(str(task.get("weights", ""))).suffix in WEIGHTS:
        task["weights"] = str(_beside(base, Path(str(task["weights"])).expanduser()))
    if "import" in task:
        task["module_folder"] = str((base / Path(str(task.get("module_folder", "."))).expanduser()).resolve())
    study.search.warm_start = [
        str(_beside(base, place.expanduser()) if isinstance(place, Path) else place)
        for place in map(folder_of, study.search.warm_start)
    ]


def _beside(base: Path, given: Path) -> Path:
    """A path beside the file, or from the working directory where there is none."""
    return (base / given if (base / given).exists() else given).resolve()


def _call_task(name: str, function: Callable[..., Task], arguments: Mapping[str, Any]) -> Task:
    from raysearch.trainables.task import Task

    if not callable(function):
        raise UserError(f"task {name} is {function!r}: name a function that returns a raysearch.Task")
    parameters = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in arguments:
            if key not in parameters:
                raise UserError(f"task {name} has no argument {key!r}; {did_you_mean(key, parameters)}")
    needed = [
        p.name for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    for key in needed:
        if key not in arguments:
            raise UserError(f"task {name} needs {key}: write {{name: {name}, {key}: ...}}")
    try:
        task = function(**arguments)
    except UserError:
        raise
    except Exception as error:  # whatever a user's function raises, or an argument of a wrong type
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UserError(f"task {name}({given}) failed: {failure(error)}") from error
    if not isinstance(task, Task):
        raise UserError(f"task {name} returned {task!r}: it must return a raysearch.Task")
    return task
