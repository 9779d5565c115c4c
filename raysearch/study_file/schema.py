"""The schema of the study file: its keys, their types and limits, and one sentence per mistake.

Nothing here needs torch or Ray.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.methods import Choice, Method, check_choice
from raysearch.objectives import Constraint, Goals, Objective
from raysearch.schedulers import SCHEDULERS
from raysearch.searchers import SEARCHERS
from raysearch.study_file.sentences import sentences

#: The ready tasks of ``raysearch.tasks``.
TASKS = ("digits", "mnist", "fashion_mnist", "cifar10", "image_folder")

# What Ray takes as a node's labels.
_LABEL_VALUE = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?")
_LABEL_NAME = re.compile(r"([a-zA-Z0-9][a-zA-Z0-9.-]*/)?" + _LABEL_VALUE.pattern)
_OWN_KEYS = {"cpu": "cpu", "gpu": "gpu", "memory": "memory_gb", "memory_gb": "memory_gb"}


class Section(BaseModel):
    """Keys that are all known, with values of exactly their types."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Space(Section):
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


class Parent(Section):
    """The unchanged network, the reference of every comparison: constants where the space has domains."""

    architecture: dict[str, Any] | None = Field(
        default=None, description="its shape; left out: the task's default"
    )
    training: dict[str, Any] | None = Field(
        default=None, description="how it is trained; left out: the task's default"
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="how long it is trained; left out: in rounds of `search.epochs`, until one brings little",
    )


class Resources(Section):
    """What one trial gets."""

    cpu: float = Field(default=1, gt=0, description="CPU cores")
    gpu: float = Field(default=0, ge=0, description="GPUs; a share such as 0.5 lets trials share one")
    memory_gb: float | None = Field(
        default=None, gt=0, description="memory that is kept for it, in 10^9 bytes; null: none is"
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="labels that its node must have, `{market-type: spot}`; left out: any node",
    )
    custom: dict[str, float] = Field(
        default_factory=dict,
        description="counted resources of nodes by the names they were given, `{fpga: 1}`",
    )

    @field_validator("gpu")
    @classmethod
    def _check_gpu(cls, gpu: float) -> float:
        if gpu > 1 and gpu % 1:
            raise UserError(f"resources.gpu is {gpu:g}: give a whole number, or a share of one below 1")
        return gpu

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name, value in labels.items():
            if not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
                raise UserError(
                    f"resources.labels has {name!r}: {value!r}, which no node can have: give a name and a "
                    "value of at most 63 letters, digits, '-', '_' and '.'"
                )
        return labels

    @field_validator("custom")
    @classmethod
    def _check_custom(cls, custom: dict[str, float]) -> dict[str, float]:
        for name, amount in custom.items():
            if name.lower() in _OWN_KEYS:
                key = _OWN_KEYS[name.lower()]
                raise UserError(f"resources.custom has {name!r}, which has a key of its own: {key}")
            if not name or amount <= 0:
                raise UserError(f"resources.custom has {name!r}: {amount:g}, give a name and more than 0")
        return custom

    @property
    def given(self) -> dict[str, Any]:
        """The cores and GPUs, and what else was given."""
        return {key: value for key, value in self.model_dump().items() if value or key in ("cpu", "gpu")}


class Search(Section):
    """How long and by what method to search."""

    num_trials: int | None = Field(
        default=None,
        ge=1,
        description="trials to train, the parent and other references aside; null: 64, or with `max_minutes` "
        "as many as there is time for",
    )
    epochs: int = Field(default=9, ge=1, description="epochs of a trial that is not stopped early")
    searcher: Choice = Field(default="model_based", description="what proposes configs; see Searchers")
    scheduler: Choice = Field(
        default="front_halving",
        description="what stops hopeless trials early; see Schedulers",
    )
    grace: int | None = Field(
        default=None,
        ge=1,
        description="epochs before trials are first compared; null: three, fewer in short studies",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of the search and of the training")
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        description="end a session after this time, references included, its front finished within it; in "
        "its last two thirds no reference is trained for another round; null: no limit",
    )
    screen: int | None = Field(
        default=None,
        ge=1,
        description="candidates that are pruned, quantised and measured for each trial that trains; null: 4 "
        "with front_halving, else 1",
    )
    resources: Resources = Field(default_factory=Resources, description="what one trial gets")
    workers: int | None = Field(
        default=None,
        ge=1,
        description="trials at a time: a cluster that grows on demand grows for them; null: as many as the "
        "nodes that are there have the resources for, read anew all the time",
    )
    evaluate_first: list[dict[str, Any]] = Field(
        default_factory=list,
        description="configs to evaluate before all others; what one leaves out is the parent's",
    )

    warm_start: list[str] = Field(
        default_factory=list, description="folders of earlier runs, whose eight best legal configs come next"
    )

    @field_validator("searcher", mode="before")
    @classmethod
    def _check_searcher(cls, given: Any) -> Choice:
        return _check_method("searcher", given, SEARCHERS)

    @field_validator("scheduler", mode="before")
    @classmethod
    def _check_scheduler(cls, given: Any) -> Choice:
        return _check_method("scheduler", given, SCHEDULERS)


class Sweep(Section):
    """What `raysearch sweep` prunes; a search does not read it (see docs/allocation.md)."""

    parts: list[str] | None = Field(
        default=None,
        description="layers, or what holds them (`stage1`); null: each that channel pruning may prune",
    )
    ratios: list[float] = Field(
        default_factory=lambda: [i / 10 for i in range(10)],
        description="shares of a part's channels to remove, in [0, 1); a curve needs four different ones",
    )
    multiple: int | None = Field(
        default=None, ge=1, description="kept channels are multiples of this; null: what the targets like"
    )

    @field_validator("parts", mode="before")
    @classmethod
    def _name_numbers(cls, parts: Any) -> Any:
        """Layers of nn.Sequential are called 0, 1, ...: YAML reads them as numbers."""
        if not isinstance(parts, list):
            return parts
        return [str(part) if type(part) is int else part for part in parts]


class StudyFile(Section):
    """A study file."""

    task: dict[str, Any] = Field(description="the model and the data")
    space: Space = Field(
        default_factory=Space, description="what may vary; a sweep does not read it, a search needs it"
    )
    parent: Parent | None = Field(default=None, description="the unchanged network; null: the task's default")
    objectives: list[str] = Field(
        default_factory=list,
        description='a list of "maximize METRIC" and "minimize METRIC"; a sweep does not read it, a search '
        "needs it",
    )
    constraints: list[str] = Field(
        default_factory=list,
        description='a list of "METRIC >= NUMBER", "METRIC >= parent - NUMBER", "METRIC <= parent + NUMBER", '
        '"METRIC <= 0.5 parent"',
    )
    targets: list[Any] = Field(
        default_factory=lambda: ["onnxruntime-cpu"],
        min_length=1,
        description="where the variants will run: names, or {name: ..., runtime: ..., option: value}",
    )
    search: Search = Field(default_factory=Search, description="how long and by what method")
    sweep: Sweep = Field(default_factory=Sweep, description="what `raysearch sweep` prunes")

    @field_validator("task", mode="before")
    @classmethod
    def _check_task(cls, task: Any) -> Any:
        if isinstance(task, str):
            task = {"name": task}
        if not isinstance(task, dict) or ("name" in task) == ("import" in task):
            form = 'give a name, {name: ..., folder: ...} or {import: "module:function"}'
            raise UserError(f"task is {task!r}: {form}")
        for key in ("folder", "module_folder"):
            if key in task and not isinstance(task[key], str):
                raise UserError(
                    f"task.{key} is {task[key]!r}: give a path, in quotes where it looks like a number"
                )
        if "name" in task and task["name"] not in TASKS:
            name = str(task["name"])
            raise UserError(f"task {name!r} is unknown; {did_you_mean(name, TASKS)}")
        return task

    @model_validator(mode="after")
    def _check_goals(self) -> StudyFile:
        if self.objectives or any(self.space.model_dump().values()):
            Goals.parse(self.objectives, self.constraints)  # whether the task reports them, the Study knows
        return self

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, targets: list[Any]) -> list[Any]:
        for i, target in enumerate(targets):
            named = isinstance(target, dict) and target.keys() & {"name", "runtime"}
            if not named and not isinstance(target, str):
                form = "give a name, or {name: ..., runtime: ..., option: value}"
                raise UserError(f"targets.{i} is {target!r}: {form}")
        return targets

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, objectives: list[str]) -> list[str]:
        return [str(Objective.parse(text)) for text in objectives]

    @field_validator("constraints")
    @classmethod
    def _check_constraints(cls, constraints: list[str]) -> list[str]:
        return [str(Constraint.parse(text)) for text in constraints]


def parse(document: Mapping[str, Any]) -> StudyFile:
    """Check a study file that is already read.

    Raises:
        ValueError: one line per mistake, naming the key, its value and what is right.
    """
    try:
        return StudyFile.model_validate(document)
    except ValidationError as error:
        raise UserError(sentences(error, StudyFile, "the study file")) from None


def check_search(**settings: Any) -> Search:
    """Check settings that were given in Python by what a study file may hold.

    Raises:
        ValueError: one line per mistake.
    """
    try:
        return Search.model_validate(settings)
    except ValidationError as error:
        raise UserError(sentences(error, Search, "the study file")) from None


def _check_method(kind: str, given: Any, methods: Mapping[str, Method]) -> Choice:
    if not isinstance(given, str | dict):
        raise UserError(f"{kind} is {given!r}: give a name, or {{name: ..., option: value}}")
    choice = check_choice(kind, given, methods)
    return choice if len(choice) > 1 else str(choice["name"])
