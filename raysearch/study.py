"""Study: a task, a space, objectives and targets, searched together.

study = Study(task, space=..., objectives=["maximize accuracy", "minimize size_mb"])
result = study.run(num_trials=64)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch import backends
from raysearch.basics.failures import UserError
from raysearch.methods import Choice
from raysearch.metrics import SHARE, reported
from raysearch.objectives import Goals
from raysearch.schedulers import make_scheduler
from raysearch.schedulers.base import Scheduler
from raysearch.search_spaces.binding import bind
from raysearch.search_spaces.keys import as_mapping, check_keys
from raysearch.search_spaces.resnet import decode_architecture, enlarge
from raysearch.search_spaces.space import Space
from raysearch.searchers import make_searcher
from raysearch.searchers.base import Config, Searcher
from raysearch.searchers.tune import parameters_of
from raysearch.study_file.schema import check_search
from raysearch.trainables.task import Task, accuracy
from raysearch.trainables.task_form import check_label_smoothing
from raysearch.warm_start import warm_start as best_of_earlier_runs

if TYPE_CHECKING:
    from raysearch.record.results import StudyResult

_WARM = 8  # configs taken from earlier runs: enough to cover a front, few beside a usual budget


class Study:
    """What is searched, for what, and how; ``run`` does it.

    Args:
        task: the model, its data and its metric.
        space: any of the five keys "architecture", "pruning", "bits", "teacher" and "training".
        objectives: such as "maximize accuracy"; at least one, each on its own metric.
        constraints: such as "accuracy >= parent - 0.02".
        targets: where the models will run; see ``raysearch targets``.
        parent: the unchanged network, {"architecture": ..., "training": ...}; the task's own if left out.
        epochs: each trial's, >= 1.
        searcher: a name of ``raysearch.searchers.SEARCHERS``, or {"name": "nsga2", "population": 40}.
        scheduler: a name of ``raysearch.schedulers.SCHEDULERS``, or a mapping of the name and options.
        evaluate_first: configs to evaluate before all others; what one leaves out is the parent's.
        warm_start: folders of earlier runs; their eight best configs that are legal here, ranked by this
            study's goals, follow. They are read now and are part of the study from then on.
        grace: epochs before the first comparison; three if left out (fewer in short studies), since the first
            epochs say little about the last.
        seed: of every random choice.
        resources: {"cpu": ..., "gpu": ...} a trial.
        workers: how many trials at a time; as many as the resources allow if left out.

    Raises:
        ValueError: anything in it that cannot work, in one sentence; no work has been done then.
    """

    def __init__(
        self,
        task: Task,
        space: Mapping[str, Any],
        objectives: Sequence[str],
        constraints: Sequence[str] = (),
        targets: Sequence[str] = ("onnxruntime-cpu",),
        *,
        parent: Config | None = None,
        epochs: int = 9,
        searcher: Choice = "model_based",
        scheduler: Choice = "successive_halving",
        evaluate_first: Sequence[Config] = (),
        warm_start: Sequence[str | Path] = (),
        grace: int | None = None,
        seed: int = 0,
        resources: Mapping[str, float] | None = None,
        workers: int | None = None,
    ) -> None:
        if not isinstance(task, Task):
            raise UserError(f"task is {task!r}: give a raysearch.Task, such as raysearch.tasks.digits()")
        for name, texts in {"objectives": objectives, "constraints": constraints, "targets": targets}.items():
            if isinstance(texts, str):
                raise UserError(f"{name} is {texts!r}: give a list")
        search = check_search(
            epochs=epochs,
            searcher=searcher,
            scheduler=scheduler,
            evaluate_first=list(evaluate_first),
            warm_start=[str(folder) for folder in warm_start],
            grace=grace,
            seed=seed,
            resources=resources or {},
            workers=workers,
        )
        if grace is not None and grace > epochs:
            raise UserError(f"grace is {grace}, and a trial has {epochs} epochs: give at most as many")
        self.task, self.epochs, self.seed = task, epochs, seed
        self.sweep: Mapping[str, Any] | None = None  # what it prunes, if ``raysearch.sweeps.sweep`` made it
        self.targets = tuple(targets)
        check_targets(self.targets)
        self._goals = Goals.parse(objectives, constraints, last_step=epochs + 1)
        self._goals.check_reported(reported(self.targets, self.metrics))
        self.resources: dict[str, float] = search.resources.model_dump()
        self.workers = workers
        self.grace = grace or min(3, max(1, epochs // 3))
        own = as_mapping(parent or {}, "parent")
        check_keys(own, ("architecture", "training"), "parent")
        self.parent = {**task.parent, **own}
        self.space = self._bind(as_mapping(space, "space"))
        check_label_smoothing(task, [self.space.domains.get("training", {}), self.parent.get("training", {})])
        self.searcher, self.scheduler = search.searcher, search.scheduler
        self.evaluate_first = [self.space.completed(config, self.parent) for config in evaluate_first]
        if warm_start:
            self.evaluate_first += self._from_earlier_runs(warm_start)
        self.make_searcher(self._goals)
        self.make_scheduler(self._goals)

    def _bind(self, space: Mapping[str, Any]) -> Space:
        """Bind the space to its architecture where that is searched, else to the layers of the one model."""
        multiple = max(backends.get(target).channel_multiple for target in self.targets)
        if "architecture" in space:
            if not self.task.searches_architecture:
                raise UserError("space.architecture is given, but the task's model is fixed: leave it out")
            return bind(space, parent=self.parent, channel_multiple=multiple)
        architecture = self.parent.get("architecture")
        return bind(
            space,
            parent=self.parent,
            model=self.task.build(decode_architecture(architecture) if architecture else None),
            example_input=self.task.example_input(2),
            channel_multiple=multiple,
        )

    def goals(self, parent: Mapping[int, Mapping[str, float]]) -> Goals:
        """Objectives and constraints, read against the parent's values at each step."""
        return Goals(self._goals.objectives, self._goals.constraints, self.epochs + 1, parent)

    @property
    def metrics(self) -> dict[str, str]:
        """The task's metrics, the first one first, with their units; only accuracy's is known."""
        return {name: SHARE if m is accuracy else "" for name, m in self.task.metrics.items()}

    @property
    def maximize(self) -> dict[str, bool]:
        """Whether higher is better, of each of the task's metrics of which something says it."""
        said = {name: self._goals.higher_is_better(name) for name in self.metrics}
        return {name: higher for name, higher in said.items() if higher is not None}

    @property
    def references(self) -> dict[str, Config]:
        """The configs that are trained before the search: the parent, and the larger net if one may teach."""
        references = {"parent": self.parent}
        if "larger" in self.space.teachers:
            references["larger"] = {**self.parent, "architecture": enlarge(self.parent["architecture"])}
        return references

    def make_searcher(self, goals: Goals) -> Searcher:
        """A fresh searcher over the space, starting from what is given and the fixed design."""
        return make_searcher(
            self.searcher,
            parameters_of(self.space.domains),
            goals,
            seed=self.seed,
            initial=[*self.evaluate_first, *self.space.design(self.parent)],
            identity=self._identity,
        )

    def _key(self, config: Config) -> str:
        return self.space.variant(config).key

    def _identity(self, config: Config) -> tuple[str, frozenset[str]]:
        variant = self.space.variant(config)
        return variant.key, variant.active

    def _from_earlier_runs(self, folders: Sequence[str | Path]) -> list[Config]:
        """The best configs of earlier runs that are legal in this space, completed."""
        start = best_of_earlier_runs(
            folders,
            parameters_of(self.space.domains),
            self._goals,
            count=_WARM,
            complete=lambda config: self.space.completed(config, self.parent),
            key=self._key,
        )
        return [self.space.completed(config, self.parent) for config in start.configs]

    @cached_property
    def origins(self) -> dict[str, str]:
        """Who proposed a config, by its key, where it was not the searcher: "given" or "design"."""
        design = dict.fromkeys(map(self._key, self.space.design(self.parent)), "design")
        return {**design, **dict.fromkeys(map(self._key, self.evaluate_first), "given")}

    def make_scheduler(self, goals: Goals) -> Scheduler:
        """A fresh scheduler; whatever it is, a trial that breaks a static constraint stops at step 0."""
        return make_scheduler(self.scheduler, goals, max_step=self.epochs, grace=self.grace)

    def describe(self) -> dict[str, Any]:
        """The resolved study as plain data: what the journal's first line and study.yaml hold."""
        from raysearch.study_file.build import describe

        return describe(self)

    def run(
        self,
        num_trials: int = 64,
        *,
        folder: str | Path | None = None,
        max_minutes: float | None = None,
        progress: bool = True,
    ) -> StudyResult:
        """Search, on the cluster that ``ray.init()`` found or on this machine.

        A folder that holds an unfinished run of the same study is gone on with: no finished trial runs again.

        Args:
            num_trials: how many to start in all.
            folder: of the run; seen by every worker. ``runs/<task>-<time>`` if left out.
            max_minutes: ends the search in time; what was found by then is measured and reported.
            progress: whether to show the live table (plain lines where the output is no terminal).

        Raises:
            ValueError: bad arguments, or a folder that holds another study's run.
        """
        from raysearch.runs.phases import run_study

        check_search(num_trials=num_trials, max_minutes=max_minutes)
        path = Path(folder or Path("runs") / f"{self.task.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        return run_study(self, num_trials, path.resolve(), max_minutes=max_minutes, progress=progress)


def check_targets(targets: Sequence[str]) -> None:
    """Refuse an empty list, an unknown target, or one whose runtime is not installed.

    Raises:
        ValueError: with the known targets, or with what to install.
    """
    if not targets:
        raise UserError("targets is empty: name at least one, such as onnxruntime-cpu")
    for target in targets:
        reason = backends.get(target).unavailable()
        if reason:
            raise UserError(f"target {target} is not available: {reason}")
    for target in targets:
        if list(targets).count(target) > 1:
            raise UserError(f"targets name {target} twice: name each once")


def resume(folder: str | Path, *, progress: bool = True) -> StudyResult:
    """Go on with the run in a folder, whatever ended it; a run that is complete is only reported again.

    Raises:
        MissingFile: the folder holds no journal.
        ValueError: the run's task was made in Python, so that only that program can go on with it.
    """
    from raysearch.record.journal import RunRecord
    from raysearch.study_file.build import build
    from raysearch.study_file.schema import TASKS, parse

    record = RunRecord.load(Path(folder))
    if not record.sessions:
        raise UserError(f"{folder} holds an empty journal: nothing was started there, so run the study again")
    described = record.header["study"]
    if "import" not in described["task"] and described["task"]["name"] not in TASKS:
        raise UserError(
            f"the task {described['task']['name']!r} of {folder} was made in Python: go on with it there, "
            f"by Study(...).run(folder={str(folder)!r})"
        )
    session = record.sessions[-1]
    study = build(parse(described))
    study.sweep = described.get("sweep")
    return study.run(
        session["num_trials"],
        folder=folder,
        max_minutes=session["max_minutes"],
        progress=progress,
    )
