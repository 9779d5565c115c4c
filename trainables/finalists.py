"""What is done with no trial running: the parent's static int8 form, the front's last figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raysearch import storage
from raysearch.backends import get
from raysearch.backends.base import Backend, MeasurementError, in_integers_alone, values_of
from raysearch.backends.static_int8 import static_int8
from raysearch.backends.structure import weights_mb
from raysearch.metrics import EXIT_SHARE, TEST
from raysearch.networks import figures
from raysearch.networks.capture import capture
from raysearch.storage import Place
from raysearch.trainables.data.batches import batches
from raysearch.trainables.evaluation import evaluate, outputs_of, predictions, score
from raysearch.trainables.exits.measuring import (
    measure_both_ways,
    measure_over_data,
    over_data_figures,
    share_that_leaves,
)
from raysearch.trainables.exits.rule import ExitRule
from raysearch.trainables.export.feeds import feed_of, function_of
from raysearch.trainables.hardware import exit_figures
from raysearch.trainables.measuring import measure_through
from raysearch.trainables.parts import Parts
from raysearch.trainables.quantization import fold_batch_norm
from raysearch.trainables.setup import CALIBRATION_SAMPLES, FILES, Report, TrialSetup
from raysearch.trainables.variant import rule_in

STATIC_INT8 = "parent-int8"


def static_int8_reports(setup: TrialSetup) -> list[dict[str, Any]]:
    """Quantise the parent's ONNX file by ONNX Runtime's own static quantisation, and measure that.

    Returns:
        Two reports as dictionaries, of step 0 and of the last step, for the targets that run such a file.
    """
    _static_int8_made(setup)
    with storage.fetched(setup.variant_folder(STATIC_INT8) / FILES["uint8"]) as path:
        return _static_int8_reports(setup, path)


def _static_int8_made(setup: TrialSetup) -> None:
    """The parent's static int8 form, made where it is missing or cannot be loaded."""
    folder, task = setup.variant_folder(STATIC_INT8), setup.task
    if _loads(folder / FILES["uint8"]):
        return
    with (
        storage.staged(folder, aside=setup.trial_folder(STATIC_INT8)) as made,
        storage.fetched(setup.variant_folder("parent") / FILES["uint8"]) as source,
    ):
        generator = torch.Generator().manual_seed(setup.seed)
        x, _ = next(batches(task.train, CALIBRATION_SAMPLES, generator, task.collate))
        static_int8(source, [feed_of(x)], made / FILES["uint8"], weight_bits=setup.weight_bits)


def _static_int8_reports(setup: TrialSetup, path: Path) -> list[dict[str, Any]]:
    task = setup.task
    targets = [t for t in setup.targets if t.form == "uint8"]
    measure = measure_through(setup.service)
    measured = [
        measure(t, path, feed_of(task.example_input(t.batch))) for t in targets if t in setup.measured
    ]
    parent = _parent(setup)
    outputs_like = outputs_of(parent, task.example_input())
    predict = {t.name: function_of(t.load(path), outputs_like) for t in targets}
    found = {t: evaluate(p, task.validation, task.metrics, task.collate) for t, p in predict.items()}
    captured = fold_batch_norm(capture(parent, task.example_input(2), task.varying))
    static = {name: value for m in measured for name, value in values_of(m).items()}
    static |= exit_figures(setup, measured, None)
    static |= {
        "size_mb": weights_mb(path),
        "file_mb": path.stat().st_size / 1e6,
        "macs": float(figures.macs(captured)),
        "params": float(figures.params(captured)),
    }
    last = Report(setup.epochs + 1, setup.over_targets(found) | exit_figures(setup, measured, None))
    return [asdict(Report(0, static, measured)), asdict(last)]


def _loads(place: Place) -> bool:
    try:
        with storage.fetched(place) as path:
            get("onnxruntime-cpu").load(path)
    except Exception:  # what a runtime raises has no common base class
        return False
    return True


def _parent(setup: TrialSetup) -> nn.Module:
    """The parent's network with its initial weights."""
    return setup.task.build(setup.space.variant(setup.references["parent"]).plan.architecture)


def final_figures(setup: TrialSetup, name: str, refused: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Measure a finished variant again, past the cache, and evaluate it on the test split.

    Args:
        setup: what all trials share.
        name: the variant's.
        refused: targets that the parent could not be compiled for, with the reason; not measured there.

    Returns:
        A report as a dictionary: latency_ms/<target> and what else is measured, and of each metric
        test_<name>/<target> and the worst of them, test_<name>, with its parts; of a network that inputs may
        leave early also what it took over inputs of the test split, one by one. A network that cannot be
        compiled for a target of finalists only lacks no other figure for that: a note says why.
    """
    if name == STATIC_INT8:
        _static_int8_made(setup)
    with storage.fetched(setup.variant_folder(name)) as folder:
        return _final_figures(setup, name, folder, refused or {})


def _final_figures(setup: TrialSetup, name: str, folder: Path, refused: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, float] = {}
    measurements, found, parts, task, notes = [], {}, {}, setup.task, []
    rule = rule_in(folder) if setup.space.exits else None
    outputs_like = outputs_of(_parent(setup), task.example_input())
    for target in setup.targets:
        path = folder / FILES[target.form]
        if not path.exists():
            continue
        # A reference in float is not what a target of integers alone was asked about.
        stands_in = name in setup.references and in_integers_alone(target)
        if target in (*setup.measured, *setup.measured_last) and not stands_in:
            try:
                measurements.append(_measured_last(setup, target, path, refused, rule))
                values |= values_of(measurements[-1]) | over_data_figures(measurements[-1])
            except MeasurementError as error:
                if not target.finalists_only:
                    raise
                notes.append(f"not measured on {target.name}: {error}")
        predict = function_of(target.load(path), outputs_like)
        watched = Parts(task.metrics)
        predicted = watched.watch(predictions(predict, task.test, task.collate))
        found[target.name] = score(predicted, task.metrics)
        parts[target.name] = watched.values()
    values |= setup.over_targets(found, TEST)
    values |= exit_figures(setup, measurements, rule)
    if rule is not None:
        values[f"{TEST}{EXIT_SHARE}"] = share_that_leaves(setup.targets[0], folder, task)
    return asdict(Report(setup.epochs + 1, values, measurements, notes, setup.worst_parts(found, parts)))


def _measured_last(
    setup: TrialSetup, target: Backend, path: Path, refused: Mapping[str, str], rule: ExitRule | None
) -> dict[str, Any]:
    if target.name in refused:
        raise MeasurementError(f"the parent cannot be: {refused[target.name]}")
    example = feed_of(setup.task.example_input(target.batch))
    measure = measure_through(setup.service)
    if rule is None:
        return measure(target, path, example, again=True)
    both = measure_both_ways(measure, target, path, example, again=True)
    return {**both, "over_data": measure_over_data(setup.service, target, path.parent, setup.task)}
