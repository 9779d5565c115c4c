"""The YAML study file: its schema, reading it with one sentence per mistake, and the Study it describes.

``load`` reads and checks a file without torch or Ray; ``StudyFile.build`` makes the Study, and ``describe``
writes one back. ``python -m raysearch.config`` prints docs/study-file.md from this schema.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raysearch.failures import failure
from raysearch.metrics import check_metrics
from raysearch.objectives import Constraint, Goals, Objective
from raysearch.spelling import did_you_mean
from raysearch.study_yaml import import_object, parse_yaml

if TYPE_CHECKING:
    from raysearch.study import Study
    from raysearch.trainables.task import Task

#: The ready tasks of ``raysearch.tasks``.
TASKS = ("digits", "mnist", "fashion_mnist", "cifar10", "image_folder")

#: pydantic's error type -> what to write instead.
_ADVICE = {
    "int_type": "give a whole number",
    "float_type": "give a number",
    "string_type": "give a text",
    "list_type": "give a list",
    "bool_type": "give true or false",
    "dict_type": "give a mapping",
    "model_type": "give a mapping",
    "model_attributes_type": "give a mapping",
    "too_short": "give at least one",
}


_BOUNDS = {"greater_than": "more than", "greater_than_equal": "at least"}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Space(_Section):
    """What may vary: each key a space function, or a mapping of Ray Tune domains and constants."""

    architecture: dict[str, Any] | None = Field(
        default=None, description="the network's shape; left out: the task's own model"
    )
    pruning: dict[str, Any] | None = Field(default=None, description="channels removed; left out: none")
    bits: dict[str, Any] | None = Field(
        default=None, description="bits of weights and activations; left out: float32"
    )
    teacher: dict[str, Any] | None = Field(default=None, description="distillation; left out: none")
    training: dict[str, Any] | None = Field(
        default=None, description="learning rate, batch size, ...; left out: defaults"
    )


class Parent(_Section):
    """The unchanged network, the reference of every comparison: constants where the space has domains."""

    architecture: dict[str, Any] | None = Field(
        default=None, description="its shape; left out: the task's default"
    )
    training: dict[str, Any] | None = Field(
        default=None, description="how it is trained; left out: the task's default"
    )


class Resources(_Section):
    """What one trial gets."""

    cpu: float = Field(default=1, gt=0, description="CPU cores")
    gpu: float = Field(default=0, ge=0, description="GPUs; a share such as 0.5 lets trials share one")


class Search(_Section):
    """How long and by what method to search."""

    num_trials: int = Field(
        default=64, ge=1, description="trials to start, the parent and other references aside"
    )
    epochs: int = Field(default=9, ge=1, description="epochs of a trial that is not stopped early")
    searcher: Literal["nsga2", "random"] = Field(default="nsga2", description="what proposes configs")
    scheduler: Literal["successive_halving", "full_training"] = Field(
        default="successive_halving", description="what stops hopeless trials early"
    )
    grace: int | None = Field(
        default=None,
        ge=1,
        description="epochs before trials are first compared; null: three, fewer in short studies",
    )
    seed: int = Field(default=0, ge=0, description="seed of the search and of the training")
    max_minutes: float | None = Field(
        default=None, gt=0, description="end the search after this time; null: no limit"
    )
    resources: Resources = Field(default_factory=Resources, description="what one trial gets")
    workers: int | None = Field(
        default=None, ge=1, description="trials at a time; null: as many as the resources allow"
    )


class StudyFile(_Section):
    """A study file."""

    task: dict[str, Any] = Field(description="the model and the data")
    space: Space = Field(description="what may vary")
    parent: Parent | None = Field(default=None, description="the unchanged network; null: the task's default")
    objectives: list[str] = Field(description='a list of "maximize METRIC" and "minimize METRIC"')
    constraints: list[str] = Field(
        default_factory=list,
        description='a list of "METRIC >= NUMBER", "METRIC >= parent - NUMBER", "METRIC <= 0.5 parent"',
    )
    targets: list[str] = Field(
        default_factory=lambda: ["onnxruntime-cpu"], min_length=1, description="where the variants will run"
    )
    search: Search = Field(default_factory=Search, description="how long and by what method")

    @field_validator("task", mode="before")
    @classmethod
    def _check_task(cls, task: Any) -> Any:
        if isinstance(task, str):
            task = {"name": task}
        if not isinstance(task, dict) or ("name" in task) == ("import" in task):
            form = 'give a name, {name: ..., folder: ...} or {import: "module:function"}'
            raise ValueError(f"task is {task!r}: {form}")
        if "name" in task and task["name"] not in TASKS:
            name = str(task["name"])
            raise ValueError(f"task {name!r} is unknown; {did_you_mean(name, TASKS)}")
        return task

    @model_validator(mode="after")
    def _check_goals(self) -> StudyFile:
        goals = Goals.parse(self.objectives, self.constraints)
        check_metrics(goals.objectives, goals.constraints, self.targets)
        return self

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, objectives: list[str]) -> list[str]:
        return [str(Objective.parse(text)) for text in objectives]

    @field_validator("constraints")
    @classmethod
    def _check_constraints(cls, constraints: list[str]) -> list[str]:
        return [str(Constraint.parse(text)) for text in constraints]

    def dump(self) -> str:
        """The file with every default filled in, as YAML that ``parse`` reads back to an equal StudyFile."""
        return yaml.safe_dump(
            self.model_dump(), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
        )

    def build_task(self) -> Task:
        """Make the task.

        Raises:
            ValueError: its arguments, import path or folder are wrong.
        """
        arguments = dict(self.task)
        if "import" in arguments:
            name = str(arguments.pop("import"))
            function = import_object(name)
        else:
            from raysearch import tasks

            name = arguments.pop("name")
            function = getattr(tasks, name)
        task = _call_task(name, function, arguments)
        task.source = self.task
        return task

    def build(self) -> Study:
        """Make the Study this file describes.

        Raises:
            ValueError: the task, the space, the parent or a target is wrong; one sentence says which and how.
        """
        from raysearch import domains
        from raysearch.study import Study

        search = self.search.model_dump()
        for argument_of_run in ("num_trials", "max_minutes"):
            search.pop(argument_of_run)
        return Study(
            self.build_task(),
            space=domains.parse_space({k: v for k, v in self.space.model_dump().items() if v is not None}),
            objectives=self.objectives,
            constraints=self.constraints,
            targets=self.targets,
            parent=self.parent.model_dump(exclude_none=True) if self.parent else None,
            **{key: value for key, value in search.items() if value is not None},
        )


def describe(study: Study) -> dict[str, Any]:
    """A study as plain data in the form of a study file, its space bound: the journal's first line holds it.

    ``num_trials`` and ``max_minutes`` are not part of it: a run may go on for longer. A task that was
    made in Python rather than by a study file is described by its name alone.
    """
    from raysearch import domains

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
            "grace": study.grace,
            "seed": study.seed,
            "resources": dict(study.resources),
            "workers": study.workers,
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(document))  # as the journal reads it back
    return plain


def load(path: Path, overrides: Iterable[str] = ()) -> StudyFile:
    """Read a study file and apply overrides.

    Args:
        path: the YAML file. A relative ``task.folder`` is taken from the file's own folder.
        overrides: "search.num_trials=64": a key's path and its new value in YAML.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line per mistake.
    """
    if not path.is_file():
        raise FileNotFoundError(f"study file {path} does not exist")
    document = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    for override in overrides:
        _override(document, override)
    study = parse(document)
    _resolve_folder(study, path.parent)
    return study


def parse(document: Mapping[str, Any]) -> StudyFile:
    """Check a study file that is already read.

    Raises:
        ValueError: one line per mistake, naming the key, its value and what is right.
    """
    try:
        return StudyFile.model_validate(document)
    except ValidationError as error:
        raise ValueError("\n".join(_sentence(e) for e in error.errors())) from None


def check_search(**settings: Any) -> Search:
    """Check settings that were given in Python by what a study file may hold.

    Raises:
        ValueError: one line per mistake.
    """
    try:
        return Search.model_validate(settings)
    except ValidationError as error:
        raise ValueError("\n".join(_sentence(e, Search) for e in error.errors())) from None


def _sentence(error: Mapping[str, Any], schema: type[BaseModel] | None = None) -> str:
    location = [str(part) for part in error["loc"]]
    where, kind, value = ".".join(location), error["type"], error["input"]
    if kind == "extra_forbidden":
        section = ".".join(location[:-1])
        place = f"{section} has" if section else "the study file has"
        known = _keys(location[:-1], schema or StudyFile)
        return f"{place} an unknown key {location[-1]!r}; {did_you_mean(location[-1], known)}"
    if kind == "missing":
        return f"the key {where} is missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "literal_error":
        choices = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"{where} is {value!r}; {did_you_mean(str(value), choices)}"
    if kind in _BOUNDS:
        (limit,) = error["ctx"].values()
        return f"{where} is {value!r}: give {_BOUNDS[kind]} {limit:g}"
    advice = _ADVICE.get(kind, error["msg"][:1].lower() + error["msg"][1:].replace("Input", "it"))
    return f"{where} is {value!r}: {advice}"


def _keys(location: Iterable[str], schema: type[BaseModel]) -> list[str]:
    """The known keys of the section at this place of the schema."""
    section: Any = schema
    for name in location:
        annotation = section.model_fields[name].annotation
        options = getattr(annotation, "__args__", (annotation,))
        section = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(section.model_fields)


def _override(document: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ValueError(f"--set {override!r} is not KEY=VALUE, such as search.num_trials=64")
    *sections, last = path.strip().split(".")
    place: Any = document
    for section in sections:
        if place.get(section) is None:
            place[section] = {}
        place = place[section]
        if not isinstance(place, dict):
            raise ValueError(f"--set {override!r}: {section} is {place!r}, which has no keys")
    try:
        place[last] = parse_yaml(text, "--set", mapping=False)
    except ValueError as error:
        raise ValueError(f"--set {override!r}: {error}") from None


def _resolve_folder(study: StudyFile, base: Path) -> None:
    """Make task.folder absolute, so that the run can be resumed from anywhere."""
    task = study.task
    if "folder" not in task:
        return
    folder = (base / Path(str(task["folder"])).expanduser()).resolve()
    if not folder.is_dir() and not task.get("download"):
        raise ValueError(f"task.folder: {folder} does not exist")
    task["folder"] = str(folder)


def _call_task(name: str, function: Callable[..., Task], arguments: Mapping[str, Any]) -> Task:
    from raysearch.trainables.task import Task

    if not callable(function):
        raise ValueError(f"task {name} is {function!r}: name a function that returns a raysearch.Task")
    parameters = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in arguments:
            if key not in parameters:
                raise ValueError(f"task {name} has no argument {key!r}; {did_you_mean(key, parameters)}")
    needed = [
        p.name for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    for key in needed:
        if key not in arguments:
            raise ValueError(f"task {name} needs {key}: write {{name: {name}, {key}: ...}}")
    try:
        task = function(**arguments)
    except ValueError:
        raise
    except Exception as error:  # whatever a user's function raises, or an argument of a wrong type
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ValueError(f"task {name}({given}) failed: {failure(error)}") from error
    if not isinstance(task, Task):
        raise ValueError(f"task {name} returned {task!r}: it must return a raysearch.Task")
    return task


if __name__ == "__main__":
    from raysearch.study_docs import page

    print(page(), end="")
