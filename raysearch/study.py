"""Study: a task, a space, objectives and targets, searched together.

study = Study(task, space=..., objectives=["maximize accuracy", "minimize size_mb"])
result = study.run(num_trials=64)
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from raysearch.backends import Spec
from raysearch.basics.failures import UserError
from raysearch.described import describe, multiple_of
from raysearch.limits import changed_work
from raysearch.methods import Choice, name_of
from raysearch.objectives import Goals
from raysearch.record.run_record import LIMITS, RunRecord
from raysearch.record.schema import check_begun
from raysearch.record.writing import is_run
from raysearch.results import StudyResult
from raysearch.runs.conditions import check_conditions
from raysearch.runs.session import Callback, Work, differing
from raysearch.schedulers import make_scheduler
from raysearch.schedulers.base import Scheduler
from raysearch.search_spaces.architectures import enlarge
from raysearch.search_spaces.bit_widths import precision_prior
from raysearch.search_spaces.keys import as_mapping
from raysearch.searchers import make_searcher
from raysearch.searchers.base import Config, Searcher
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.tune import parameters_of
from raysearch.storage import Place, resolved
from raysearch.study_file.build import build_task
from raysearch.study_file.schema import StudyFile, check_search
from raysearch.study_file.space_text import dump_space, parse_space
from raysearch.trainables.setup import LONGER
from raysearch.trainables.task import Task
from raysearch.warm_start import warm_start as best_of_earlier_runs

TRIALS = 64  # where neither trials nor minutes are given
SCREEN = 4
_WARM = 8  # configs taken from earlier runs: enough to cover a front, few beside a usual budget


class Study:
    """What is searched, for what, and how; ``run`` does it.

    Args:
        task: the model, its data and its metric.
        space: any of the five keys "architecture", "pruning", "bits", "teacher" and "training".
        objectives: such as "maximize accuracy"; at least one, each on its own metric.
        constraints: such as "accuracy >= parent - 0.02".
        targets: where the models will run: names (see ``raysearch targets``), or mappings of "runtime" and
            if wished "name" and the runtime's options: ``{"name": "batches", "runtime": "openvino-cpu",
            "batch": 8}``.
        parent: the unchanged network, {"architecture": ..., "training": ...}; the task's own if left out.
            It is trained until it is done, or for its "epochs".
        epochs: each trial's, >= 1.
        searcher: a name of ``raysearch.searchers.SEARCHERS``, or {"name": "nsga2", "population": 40}.
        scheduler: a name of ``raysearch.schedulers.SCHEDULERS``, or a mapping of the name and options.
        evaluate_first: configs to evaluate before all others; what one leaves out is the parent's.
        warm_start: folders of earlier runs; their eight best configs that are legal here, ranked by this
            study's goals, follow. They are read now and are part of the study from then on.
        grace: epochs before the first comparison; three if left out (fewer in short studies), since the first
            epochs say little about the last.
        seed: of every random choice.
        resources: of a trial: {"cpu": ..., "gpu": ..., "memory_gb": ..., "labels": {...}, "custom": {...}}.
        workers: how many trials at a time; a cluster that grows on demand grows for them. As many as the
            resources allow, which may change meanwhile, if left out.
        screen: how many candidates are pruned, quantised and measured for each that trains, the most
            promising of those that wait; 4 with front_halving, else 1, if left out. What is evaluated first
            trains at once.

    Raises:
        ValueError: anything in it that cannot work, in one sentence; no work has been done then.
    """

    def __init__(
        self,
        task: Task,
        space: Mapping[str, Any],
        objectives: Sequence[str],
        constraints: Sequence[str] = (),
        targets: Sequence[Spec] = ("onnxruntime-cpu",),
        *,
        parent: Config | None = None,
        epochs: int = 9,
        searcher: Choice = "model_based",
        scheduler: Choice = "front_halving",
        evaluate_first: Sequence[Config] = (),
        warm_start: Sequence[str | Place] = (),
        grace: int | None = None,
        seed: int = 0,
        resources: Mapping[str, Any] | None = None,
        workers: int | None = None,
        screen: int | None = None,
    ) -> None:
        for name, texts in {"objectives": objectives, "constraints": constraints}.items():
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
            screen=screen,
        )
        if grace is not None and grace > epochs:
            raise UserError(f"grace is {grace}, and a trial has {epochs} epochs: give at most as many")
        self._space, self._given = space, len(evaluate_first)
        self.conditions = check_conditions(
            task,
            parent,
            targets,
            epochs=epochs,
            seed=seed,
            resources=search.resources.given,
            workers=workers,
        )
        self.space = self.conditions.bind(as_mapping(space, "space"))
        self.conditions = replace(self.conditions, parent=self.space.settled(self.conditions.parent))
        self.task, self.parent = task, self.conditions.parent
        self.targets = tuple(target.name for target in self.conditions.targets)
        self.epochs, self.seed = epochs, seed
        self.resources, self.workers = self.conditions.resources, workers
        self.goals = Goals.parse(objectives, constraints, last_step=epochs + 1)
        self.goals.check_reported(*self.conditions.reported(exits=self.space.exits))
        self.grace = grace or usual_grace(epochs)
        self.searcher, self.scheduler = search.searcher, search.scheduler
        self.screen = screen or self._usual_screen
        self.evaluate_first = [self.space.completed(config, self.parent) for config in evaluate_first]
        if warm_start:
            self.evaluate_first += self._from_earlier_runs(warm_start)
        self._warm = [str(resolved(folder)) for folder in warm_start]
        self.make_searcher(self.goals)
        self.make_scheduler(self.goals)

    @property
    def _usual_screen(self) -> int:
        return SCREEN if name_of(self.scheduler) == "front_halving" else 1

    @property
    def references(self) -> dict[str, Config]:
        """The configs that are trained before the search.

        The parent, the larger network if one may teach, and the parent once more, trained on for a trial's
        epochs: what compression brings must not be taken for what longer training does.
        """
        references = {"parent": self.parent}
        if "larger" in self.space.teachers:
            references["larger"] = {**self.parent, "architecture": enlarge(self.parent["architecture"])}
        return {**references, LONGER: self.parent}

    def make_searcher(self, goals: Goals) -> Searcher:
        """A fresh searcher over the space, starting from what is given and the fixed design."""
        return make_searcher(
            self.searcher,
            self._parameters,
            goals,
            seed=self.seed,
            initial=[*self.evaluate_first, *self.space.design(self.parent)],
            identity=self._identity,
        )

    @cached_property
    def _parameters(self) -> tuple[Parameter, ...]:
        priors = precision_prior(self.space.searched, self.conditions.integers)
        return parameters_of(self.space.domains, priors)

    def _key(self, config: Config) -> str:
        return self.space.variant(config).key

    def _identity(self, config: Config) -> tuple[str, frozenset[str]]:
        variant = self.space.variant(config)
        return variant.key, variant.active

    def _from_earlier_runs(self, folders: Sequence[str | Place]) -> list[Config]:
        """The best configs of earlier runs that are legal in this space, completed."""
        start = best_of_earlier_runs(
            folders,
            self._parameters,
            self.goals,
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

    @property
    def work(self) -> Work:
        """The study as what a run is to do."""
        return Work(
            self.describe(),
            self.conditions,
            self.space,
            self.references,
            self.goals,
            searcher=self.make_searcher,
            scheduler=self.make_scheduler,
            origin=lambda key: self.origins.get(key, name_of(self.searcher)),
            screen=self.screen,
            unscreened=self.origins,
            warm_start={"folders": self._warm, "configs": len(self.evaluate_first) - self._given},
        )

    def describe(self) -> dict[str, Any]:
        """The resolved study as plain data in the form of a study file: what study.yaml holds.

        ``num_trials`` and ``max_minutes`` are not part of it: a run may go on for longer. A task that was
        made in Python rather than by a study file is described by its name alone.
        """
        return describe(
            self.conditions,
            self.space,
            self.goals,
            {
                "searcher": self.searcher,
                "scheduler": self.scheduler,
                "evaluate_first": self.evaluate_first,  # those of a warm start too: its folders may go
                "grace": self.grace,
                **({"screen": self.screen} if max(self.screen, self._usual_screen) > 1 else {}),
            },
        )

    def run(
        self,
        num_trials: int | None = None,
        *,
        folder: str | Place | None = None,
        max_minutes: float | None = None,
        progress: bool = True,
        callbacks: Sequence[Callback] = (),
    ) -> StudyResult:
        """Search, on the cluster that ``ray.init()`` found or on this machine.

        A folder that holds a run of the same study is gone on with: no finished trial runs again. What was
        resolved when it began holds: the multiple of channels, and what a warm start from the same folders
        took. Objectives, constraints and targets may be others, as in ``raysearch resume DIR --set``: all
        trials are ranked anew by them.

        Args:
            num_trials: how many may train in all; 64 if left out, or with ``max_minutes`` any number.
            folder: of the run; seen by every worker: of a disk of all nodes, or in a bucket
                ("s3://bucket/runs/digits"). ``runs/<task>-<time>`` if left out.
            max_minutes: ends this session in time, its front finished by then, measured and reported. The
                references are trained within it, no further round of theirs begins after a third of it.
            progress: whether to show the live table (plain lines where the output is no terminal).
            callbacks: of Ray Tune, such as its own for MLflow, Weights & Biases and TensorBoard. A trial of
                the journal is the trial of Tune whose config says so under "trial"; one that was paused goes
                on as another of Tune's. Files that they keep for a trial go to ``tune/`` in the folder.

        Raises:
            ValueError: bad arguments, a folder that holds another study's run, or other limits than the
                run's that its trials cannot be ranked by.
        """
        from raysearch.runs.phases import go_on, opened

        check_search(num_trials=num_trials, max_minutes=max_minutes)
        path = resolved(folder or Path("runs") / f"{self.task.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        trials = num_trials or (None if max_minutes else TRIALS)
        with contextlib.closing(opened(path)) as journal:  # nobody else writes it from before it is read
            work, limits = self._work_in(path)
            go_on(
                work,
                trials,
                journal,
                max_minutes=max_minutes,
                progress=progress,
                callbacks=callbacks,
                limits=limits,
            )
        return StudyResult(path)

    def _work_in(self, folder: Place) -> tuple[Work, Mapping[str, Any]]:
        """What is to be done in a folder, and the limits that are others than those of the run there."""
        record = RunRecord.load(folder) if is_run(folder) else RunRecord()
        if not record.header:
            return self.work, {}
        check_begun(record.header, True, folder)
        asked = self._as_begun(record.header)
        differ = differing(record.header["study"], asked)
        if not set(differ) <= set(LIMITS):
            return replace(self.work, described=asked), {}  # which is refused
        if not differ and asked == self.describe():
            return self.work, {}
        limits = {name: asked[name] for name in differ}
        work, limits = changed_work(record, limits, lambda study: _described_as(study, self.task).work)
        return replace(work, conditions=replace(work.conditions, workers=self.workers)), limits

    def _as_begun(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """As ``describe``, with what was resolved when a run began.

        That is the multiple of channels where the space does not say it, and what was taken from the same
        folders of earlier runs, which may have gone on since.
        """
        held, asked = header["study"], self.describe()
        first = held["search"].get("evaluate_first", [])
        taken = len(first) - self._given
        same = {"folders": self._warm, "configs": taken}
        if self._warm and taken > 0 and header.get("warm_start", same) == same:
            own = asked["search"]["evaluate_first"][: self._given]
            asked["search"]["evaluate_first"] = [*own, *first[self._given :]]
        multiple = multiple_of(held)
        if multiple is not None and multiple != multiple_of(asked):
            space = replace(self.conditions, channel_multiple=multiple).bind(as_mapping(self._space, "space"))
            asked["space"] = json.loads(json.dumps(dump_space(space.domains)))
        return asked


def usual_grace(epochs: int) -> int:
    """The epochs before trials of so many are first compared: three, fewer in short studies."""
    return min(3, max(1, epochs // 3))


def study_of(file: StudyFile) -> Study:
    """Make the Study that a study file describes.

    Raises:
        ValueError: the task, the space, the parent or a target is wrong; one sentence says which and how.
    """
    document = file.model_dump(exclude={"parent"})
    if file.parent:
        document["parent"] = file.parent.model_dump(exclude_none=True)
    return _described_as(document, build_task(file.task))


def _described_as(document: Mapping[str, Any], task: Task) -> Study:
    """The Study on a task that a document in the form of a study file describes."""
    left_out = ("num_trials", "max_minutes")  # arguments of ``run``
    search = {k: v for k, v in document["search"].items() if v is not None and k not in left_out}
    return Study(
        task,
        space=parse_space({k: v for k, v in document["space"].items() if v is not None}),
        parent=document.get("parent"),
        **{name: document[name] for name in LIMITS},
        **search,
    )
