"""From a study file to a Study and back.

``load`` reads and checks a file without torch or Ray; ``build`` makes the Study, and ``describe`` writes one
back.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.basics.failures import UserError, failure
from raysearch.basics.files import read_text
from raysearch.basics.spelling import did_you_mean
from raysearch.study_file.schema import StudyFile, parse
from raysearch.study_file.yaml_text import import_object, override_key, parse_yaml

if TYPE_CHECKING:
    from raysearch.study import Study
    from raysearch.trainables.task import Task


def load(path: Path, overrides: Iterable[str] = ()) -> StudyFile:
    """Read a study file and apply overrides.

    Args:
        path: the YAML file. A relative ``task.folder`` is taken from the file's own folder.
        overrides: "search.num_trials=64": a key's path and its new value in YAML.

    Raises:
        MissingFile: there is no such file.
        UserError: one line per mistake.
    """
    document = parse_yaml(read_text(path, "study file"), path.name)
    for override in overrides:
        override_key(document, override)
    study = parse(document)
    _resolve_folder(study, path.parent)
    return study


def build_task(source: Mapping[str, Any]) -> Task:
    """Make the task of a study file's ``task``.

    Raises:
        ValueError: its arguments, import path or folder are wrong.
    """
    arguments = dict(source)
    if "import" in arguments:
        name = str(arguments.pop("import"))
        function = import_object(name)
    else:
        from raysearch import tasks

        name = arguments.pop("name")
        function = getattr(tasks, name)
    task = _call_task(name, function, arguments)
    task.source = dict(source)
    return task


def build(file: StudyFile) -> Study:
    """Make the Study that a file describes.

    Raises:
        ValueError: the task, the space, the parent or a target is wrong; one sentence says which and how.
    """
    from raysearch.study import Study
    from raysearch.study_file import space_text as domains

    search = file.search.model_dump()
    for argument_of_run in ("num_trials", "max_minutes"):
        search.pop(argument_of_run)
    return Study(
        build_task(file.task),
        space=domains.parse_space({k: v for k, v in file.space.model_dump().items() if v is not None}),
        objectives=file.objectives,
        constraints=file.constraints,
        targets=file.targets,
        parent=file.parent.model_dump(exclude_none=True) if file.parent else None,
        **{key: value for key, value in search.items() if value is not None},
    )


def describe(study: Study) -> dict[str, Any]:
    """A study as plain data in the form of a study file, its space bound: the journal's first line holds it.

    ``num_trials`` and ``max_minutes`` are not part of it: a run may go on for longer. A task that was
    made in Python rather than by a study file is described by its name alone. A key ``sweep`` says that the
    run is a sweep.
    """
    from raysearch.study_file import space_text as domains

    source = study.task.source or {"name": study.task.name}
    document = {
        "task": source,
        "space": domains.dump_space(study.space.domains),
        "parent": study.parent,
        "objectives": [str(o) for o in study.goals({}).objectives],
        "constraints": [str(c) for c in study.goals({}).constraints],
        "targets": list(study.targets),
        "search": {
            "epochs": study.epochs,
            "searcher": study.searcher,
            "scheduler": study.scheduler,
            "evaluate_first": study.evaluate_first,  # those of a warm start too: its folders may go
            "grace": study.grace,
            "seed": study.seed,
            "resources": dict(study.resources),
            "workers": study.workers,
        },
    }
    if study.sweep is not None:
        document["sweep"] = study.sweep
    plain: dict[str, Any] = json.loads(json.dumps(document))  # as the journal reads it back
    return plain


def _resolve_folder(study: StudyFile, base: Path) -> None:
    """Make task.folder absolute, so that the run can be resumed from anywhere."""
    task = study.task
    if "folder" not in task:
        return
    folder = (base / Path(str(task["folder"])).expanduser()).resolve()
    if not folder.is_dir() and not task.get("download"):
        raise UserError(f"task.folder: {folder} does not exist")
    task["folder"] = str(folder)


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
    except ValueError:
        raise
    except Exception as error:  # whatever a user's function raises, or an argument of a wrong type
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UserError(f"task {name}({given}) failed: {failure(error)}") from error
    if not isinstance(task, Task):
        raise UserError(f"task {name} returned {task!r}: it must return a raysearch.Task")
    return task
