"""Before any trial: whether networks of a study's space can be pruned, trained, exported and run."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import cloudpickle

from raysearch.backends import get
from raysearch.backends.base import Backend, Estimator, Feed
from raysearch.backends.measurement.spared import Description
from raysearch.backends.on_nodes import OnNodes
from raysearch.backends.sent import Sent
from raysearch.basics.failures import UserError, first_line
from raysearch.networks.exits import Exits
from raysearch.reporting.progress import LiveTable
from raysearch.runs.carried import Carried
from raysearch.runs.cluster.room import await_room
from raysearch.runs.conditions import Conditions, check_available
from raysearch.runs.session import Work
from raysearch.runs.tuning import cluster
from raysearch.search_spaces.architectures import Architecture
from raysearch.search_spaces.domains import merged, nested
from raysearch.search_spaces.space import Space
from raysearch.search_spaces.training import TrainingPlan
from raysearch.trainables.data.batches import count, first
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.setup import Config, TrialSetup
from raysearch.trainables.stages import TrialStages
from raysearch.trainables.task import Task
from raysearch.trainables.task_check import check_task
from raysearch.trainables.task_form import SPLITS
from raysearch.trainables.training.epoch import TrainingDiverged

_BATCHES = 2
_DIVERGED = "its training diverged on two batches, at the learning rate of the design: its file was not tried"
_LEFT_EARLY = "left-early"
_CALLED = {"parent": "the parent", _LEFT_EARLY: "a network that inputs may leave early"}
_EPOCHS = 2  # one in float, one quantised


@dataclass(frozen=True)
class Findings:
    """What trying a study's networks has shown.

    Attributes:
        pruned: output channels of what may be pruned: groups by their root layer, or, of the parent's
            architecture where that is searched, stages, layers and heads by their names; empty without
            pruning.
        quantized: the layers, or stages, whose bits are searched.
        remarks: of the most compressed network: what stays in float and why, among others.
        seconds: what one trial takes, without waiting for a measurement.
        memory_mb: the most memory that trying took, in 10^6 bytes, everything that was imported included.
    """

    pruned: Mapping[str, int] = field(default_factory=dict)
    quantized: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0
    memory_mb: float = 0.0


def check_first(work: Work, table: LiveTable, *, anew: bool) -> None:
    """Refuse what no trial could do: more resources than there are, a model that cannot be deployed.

    A model of raysearch's own always can. Others are tried in a worker, whose memory is given back.

    Raises:
        ValueError: in one sentence.
    """
    conditions = work.conditions
    await_room(conditions.demand, table.begin)
    check_available(conditions.targets)  # those elsewhere are known only where Ray runs
    check_sendable(conditions.task)
    if not anew or conditions.task.is_ready:
        return
    table.begin("trying the model on two batches, in a worker")
    task = ray.remote(_check_deployable).options(**conditions.demand.without_gpu().options())
    # Both, where the modules of a user's function are found.
    carried: Any = Carried((conditions, work.space))
    try:
        ray.get(task.remote(carried))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise UserError(f"the worker that tried the model died: {first_line(error)}") from error


def _check_deployable(carried: tuple[Conditions, Space]) -> Findings:
    return check_deployable(*carried)


def check_deployable(conditions: Conditions, space: Space) -> Findings:
    """Try the task, and take the parent and the most compressed network of the design through all stages.

    Each is trained for two epochs of two batches, in float and, where it has fewer bits, quantised, exported,
    compared with its files, and run on every target; nothing is measured.

    Raises:
        ValueError: the task cannot work, or a network cannot be made, pruned, captured, trained, exported or
            run on a target; layer and operator are named as far as they are known.
    """
    torch.set_num_threads(max(1, int(conditions.resources["cpu"])))  # as in a trial
    plan = space.variant(conditions.parent).plan
    check_task(conditions.task, plan.architecture)
    few = _few(conditions.task, plan.training)
    configs = {"parent": conditions.parent}
    configs |= _left_early(conditions.task, conditions.parent, space)
    for config in space.design(conditions.parent)[-1:]:
        configs["compressed"] = _taught_by_parent(config)
    if conditions.resources.get("gpu", 0):
        configs = {name: _in_float32(config) for name, config in configs.items()}
    with tempfile.TemporaryDirectory() as folder:
        setup = TrialSetup(
            few,
            space,
            _tried_here(conditions.targets),
            _EPOCHS,
            Path(folder),
            references={"parent": conditions.parent},
            seed=conditions.seed,
            parent_epochs=1,
        )
        tried = [_take_through(setup, name, config) for name, config in configs.items()]
    stages, seconds = tried[-1]
    complete = stages.reports[-1].step == stages.last_step
    share = _passes(conditions) / _passes(replace(conditions, task=few, epochs=1))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return Findings(
        pruned=_pruned(space, plan.architecture),
        quantized=space.layers or tuple(stages.plan.bits.weights),
        remarks=(*stages.reports[0].notes, *([] if complete else [_DIVERGED])),
        # An epoch that begins the quantised part has its start in it; the other is the measure.
        seconds=seconds[0] + seconds[-1] + min(seconds[1:-1], default=0.0) * share,
        memory_mb=most,
    )


def _left_early(task: Task, parent: Config, space: Space) -> dict[str, Config]:
    """The parent with one setting changed so that inputs may leave it early, as a config to try; or none."""
    searched = {path: v for path, v in space.searched.items() if space.exits and path[0] == "architecture"}
    for path, end in ((path, end) for path, values in searched.items() for end in values.ends()):
        config = merged(parent, nested({path: end}))
        network = task.build(space.variant(config).plan.architecture)
        if isinstance(outputs_of(network, task.example_input(2)), Exits):
            return {_LEFT_EARLY: config}
    return {}


def _tried_here(targets: Sequence[Backend]) -> tuple[Backend, ...]:
    """The targets that files are tried on: of those elsewhere the runtime, where this machine has it too."""
    runtimes = [target.inner if isinstance(target, Sent) else target for target in targets]
    here = [runtime for runtime in runtimes if runtime.unavailable() is None]
    return tuple(here) or (get("onnxruntime-cpu"),)


def _pruned(space: Space, parent: Architecture | None) -> Mapping[str, int]:
    """The channels of what may be pruned, of the parent's where the architecture is searched."""
    if space.groups or parent is None or "ratios" not in space.domains.get("pruning", {}):
        return space.groups
    return parent.widths()


def _taught_by_parent(config: Config) -> Config:
    """The config with the parent in the place of any other teacher, which is not trained here."""
    teacher = config.get("teacher", {})
    return {**config, "teacher": {**teacher, "name": "parent"}} if teacher.get("name") else config


def _in_float32(config: Config) -> Config:
    """The config in the one precision of training that every processor has: a GPU's is not tried here."""
    return {**config, "training": {**config.get("training", {}), "precision": "float32"}}


def _take_through(setup: TrialSetup, name: str, config: Config) -> tuple[TrialStages, list[float]]:
    """All reports of a network, and the seconds that each took."""
    seconds = []
    try:
        stages = TrialStages(setup, name, config, _run_once)
        step = -1
        while step < stages.last_step:
            start = time.perf_counter()
            step = stages.next_report().step
            seconds.append(time.perf_counter() - start)
    except TrainingDiverged:  # a matter of this learning rate: other trials have others
        pass
    except RuntimeError as error:  # torch's own errors, a file that disagrees, a runtime that refuses it
        what = _CALLED.get(name, "a pruned and quantised network")
        raise UserError(f"{what} does not run: {first_line(error)}") from error
    return stages, seconds


def _few(task: Task, training: TrainingPlan) -> Task:
    """The task with two batches of each split."""
    few = {split: first(getattr(task, split), _BATCHES * training.batch_size) for split in SPLITS}
    return replace(task, **few)  # type: ignore[arg-type]


def _passes(conditions: Conditions) -> float:
    """Examples seen in a trial's epochs; one that is trained on costs as much as three that are evaluated."""
    task = conditions.task
    return conditions.epochs * (3 * count(task.train) + count(task.validation))


def check_places(targets: Sequence[Backend]) -> list[str]:
    """Whether the nodes of a cluster have the devices of targets that are on nodes.

    Returns:
        Remarks: what no node has yet and would be waited for; what cannot be asked without RAY_ADDRESS.

    Raises:
        UserError: no node has a device that is not waited for, or its runtime is not there.
    """
    placed = [target for target in targets if isinstance(target, OnNodes)]
    if not placed:
        return []
    if not (ray.is_initialized() or os.environ.get("RAY_ADDRESS")):
        names = ", ".join(target.name for target in placed)
        return [f"{names}: whether a node has such a device is only known where RAY_ADDRESS names a cluster"]
    with cluster():
        check_available(placed)
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        return [
            f"target {target.name}: {target.place.missing(nodes)}; a measurement waits for one for "
            f"{target.place.wait_minutes:g} minutes"
            for target in placed
            if not target.place.devices(nodes)
        ]


def check_sendable(task: Task) -> None:
    """Refuse a task that cannot be sent to workers.

    Raises:
        ValueError: naming the field that cannot be pickled.
    """
    for each in fields(task):
        try:
            cloudpickle.dumps(getattr(task, each.name))  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever a user's object raises
            raise UserError(
                f"the task's {each.name} cannot be pickled, as it must be to reach the workers: "
                f"{first_line(error)}"
            ) from error


def _run_once(
    target: Backend,
    path: Path,
    example: Feed,
    *,
    reference: bool = False,
    again: bool = False,
    description: Description | None = None,
) -> dict[str, Any]:
    """One inference in place of a measurement."""
    if isinstance(target, Estimator):
        figures, notes = target.estimate(path, example)
        return {"target": target.name, "figures": figures, "notes": notes}
    target.load(path)(example)
    return {"target": target.name, "latency_ms": float("nan")}
