"""Figures of networks on a target that came after them, from what is kept of each; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import fx

from raysearch import storage
from raysearch.backends.base import Backend, DeviceLost, MeasurementError, values_of
from raysearch.basics.disk import is_full
from raysearch.trainables.evaluation import evaluate, outputs_of, score
from raysearch.trainables.export.agreement import check_agreement
from raysearch.trainables.export.deployment import static_figures
from raysearch.trainables.export.differences import ExportDisagreement
from raysearch.trainables.export.feeds import feed_of, function_of
from raysearch.trainables.finalists import STATIC_INT8
from raysearch.trainables.hardware import figures_before_training, of_target
from raysearch.trainables.keeping.variants import add_forms
from raysearch.trainables.measuring import measure_through
from raysearch.trainables.setup import FILES, Config, Report, TrialSetup
from raysearch.trainables.stages import seed_of
from raysearch.trainables.training.course import Course
from raysearch.trainables.variant import load_variant


def figures_on(
    setup: TrialSetup, name: str, config: Config, target: str, known: Mapping[str, float], finished: bool
) -> dict[str, Any]:
    """What a trial would have reported of a target, had it been there from the beginning.

    Of one that has finished its files are measured, exported from its weights where the target wants another
    form; of one that goes on, the network as it was before training.

    Args:
        setup: what all trials share, the target among theirs.
        name: the trial's.
        config: the trial's.
        target: its name.
        known: the trial's figures so far.
        finished: whether it has.

    Returns:
        A report as a dictionary: the target's figures, and of a trial that has finished the task's metrics
        there and the worst of each over all targets. Where there are none a note says why.

    Raises:
        DeviceLost: no device of the target answers, so that a later time may give figures.
    """
    backend = next(each for each in setup.targets if each.name == target)
    try:
        if not finished:
            return _before_training(setup, name, config, backend)
        if name != STATIC_INT8:
            _make_whole(setup, name, config)
        with storage.fetched(setup.variant_folder(name)) as folder:
            return _of_files(setup, name, config, backend, folder, known)
    except DeviceLost:
        raise
    except (MeasurementError, ExportDisagreement, _GoneError) as error:
        return asdict(Report(0, {}, notes=[f"not measured on {target}: {error}"]))


class _GoneError(Exception):
    """What would be measured is not there any more."""


def _make_whole(setup: TrialSetup, name: str, config: Config) -> None:
    try:
        add_forms(setup, name, config)
    except Exception as error:  # whatever is wrong with what is left
        if is_full(error):
            raise
        raise _GoneError("its files are gone or damaged") from error


def _before_training(setup: TrialSetup, name: str, config: Config, target: Backend) -> dict[str, Any]:
    variant = setup.space.variant(config)
    seed = seed_of(setup, variant.key)
    network = Course(setup, name, variant.plan, seed, torch.device("cpu")).module
    measure = measure_through(setup.service)
    values, measurements = figures_before_training(setup, variant.plan, network, seed, measure, target)
    return asdict(Report(0, values, measurements))


def _of_files(
    setup: TrialSetup,
    name: str,
    config: Config,
    target: Backend,
    folder: Path,
    known: Mapping[str, float],
) -> dict[str, Any]:
    task, path = setup.task, folder / FILES[target.form]
    variant = setup.space.variant(config)
    model = None if task.is_ready else task.build(variant.plan.architecture)
    values: dict[str, float] = {}
    measurements, notes = [], []
    if target in setup.measured:
        example = feed_of(task.example_input(target.batch))
        measurements.append(measure_through(setup.service)(target, path, example))
        values |= values_of(measurements[0])
        notes += [f"{target.name}: {note}" for note in measurements[0].get("notes", ())]
    if name == STATIC_INT8:  # a runtime has made it, of no module
        outputs_like = outputs_of(task.build(variant.plan.architecture), task.example_input())
        predict = function_of(target.load(path), outputs_like)
        found = evaluate(predict, task.validation, task.metrics, task.collate)
    else:
        module = cast(fx.GraphModule, load_variant(folder, model))
        files = {form: folder / FILES[form] for form in setup.forms}
        values = {**of_target(static_figures(module, files, setup.targets), target), **values}
        agreement = check_agreement(module, path, target, task.validation, task.collate)
        found = score(agreement.predicted, task.metrics)
        notes += [remark] if (remark := agreement.remark(target.name)) else []
    worst = setup.over_targets({**_by_target(setup, known), target.name: found})
    values |= of_target(worst, target) | {name: worst[name] for name in task.metrics}
    return asdict(Report(setup.epochs + 1, values, measurements, notes))


def _by_target(setup: TrialSetup, known: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The task's metrics on each target on which they are known."""
    found = {
        t.name: {name: known[key] for name in setup.task.metrics if (key := f"{name}/{t.name}") in known}
        for t in setup.targets
    }
    return {target: values for target, values in found.items() if len(values) == len(setup.task.metrics)}
