"""Step 0 of a trial: what its network costs on the targets, and its metrics before training."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import fx, nn

from raysearch.backends.base import Backend, Estimator, Form, in_integers_alone, values_of
from raysearch.backends.measurement.spared import Description
from raysearch.backends.predictor import features, operators_of
from raysearch.backends.structure import structure_key
from raysearch.basics.figures import is_prediction
from raysearch.metrics import EXIT_SHARE
from raysearch.networks.groups import quantizable_layers
from raysearch.networks.nests import device_of
from raysearch.networks.running import run_limited
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.plans import TrialPlan
from raysearch.trainables.exits.evaluation import costs_of, evaluated, may_leave, mean_latencies
from raysearch.trainables.exits.measuring import measure_both_ways
from raysearch.trainables.exits.rule import ExitRule
from raysearch.trainables.export.deployment import as_deployed, remarks, static_figures, write_files
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.pruning.recalibration import recalibrated
from raysearch.trainables.setup import Measure, Report, TrialSetup

# How long tracing and exporting one network may take: a ResNet-50 needs some ten seconds on a busy core.
TRACING_LIMIT_S = 180.0


def hardware_report(
    setup: TrialSetup,
    plan: TrialPlan,
    network: nn.Module,
    seed: int,
    measure: Measure,
    *,
    reference: bool,
    in_integers: bool = False,
) -> Report:
    """The report of step 0.

    Batch norm's statistics and the steps of the quantisers are taken anew, the weights are as they were
    inherited and pruned.

    Args:
        setup: what all trials share.
        plan: the trial's.
        network: before training; left as it is.
        seed: decides on which examples statistics are taken.
        measure: has a model file measured.
        reference: whether others are compared with this network.
        in_integers: whether a target that computes nothing in float is asked about the network at eight bits
            in its place: others are compared with it, and there it cannot be what it is.
    """
    task = setup.task
    model = recalibrated(network, task.train, task.collate, seed)
    with tempfile.TemporaryDirectory() as folder:
        module, files = _exported(setup, plan, model, Path(folder))
        pattern = plan.sparsity.pattern if plan.sparsity else "none"
        values = static_figures(module, files, setup.targets, pattern)
        measurements, replaced = [], []
        for target in setup.measured:
            example, file = feed_of(task.example_input(target.batch)), files[target.form]
            stands_in = in_integers and _stands_in(plan, target)
            if stands_in:
                file = _at_eight_bits(setup, plan, model, target.form, Path(folder) / "eight")
                replaced.append(f"{target.name} computes nothing in float: its figures are of eight bits")
            if may_leave(module):
                measured = measure_both_ways(measure, target, file, example)
            else:
                description = None if isinstance(target, Estimator) else _described(file, files)
                measured = measure(target, file, example, reference=reference, description=description)
            measurements.append({**measured, "stands_in": True} if stands_in else measured)
            values |= values_of(measured)
    values |= metrics_of(setup, plan, module.to(device_of(network)), measurements)[0]
    remarked = replaced + remarks(module, plan, setup.weight_bits, setup.targets)
    remarked += [f"{m['target']}: {note}" for m in measurements for note in m.get("notes", ())]
    return Report(0, values, measurements, remarked)


def metrics_of(
    setup: TrialSetup, plan: TrialPlan, module: nn.Module, measurements: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, float], ExitRule | None]:
    """The task's metrics on the validation split, by torch, and what early exits make of latencies.

    Args:
        setup: what all trials share.
        plan: the trial's.
        module: its network, on its device.
        measurements: of it, in the order in which they were reported.

    Returns:
        The metrics, with ``exit_figures``; and when an input leaves, None where it is run to the end.
    """
    values, rule = evaluated(module, setup.task, plan, costs_of(measurements))
    return {**values, **exit_figures(setup, measurements, rule)}, rule


def exit_figures(
    setup: TrialSetup, measurements: Sequence[Mapping[str, Any]], rule: ExitRule | None
) -> dict[str, float]:
    """The share of the inputs that leaves early, and mean latencies; nothing in a study without exits."""
    if not setup.space.exits:
        return {}
    share = rule.share if rule else 0.0
    return {EXIT_SHARE: share, **mean_latencies(costs_of(measurements), share)}


def measured_at_last(
    setup: TrialSetup,
    plan: TrialPlan,
    network: nn.Module,
    seed: int,
    measure: Measure,
    reported: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Measure what step 0 only predicted, of a network that goes on.

    Args:
        setup: what all trials share.
        plan: the trial's.
        network: as it was at step 0; left so.
        seed: of the same.
        measure: has a model file measured.
        reported: the measurements of step 0.
    """
    predicted = {each["target"] for each in reported if is_prediction(each)}
    targets = [target for target in setup.measured if target.name in predicted]
    if not targets:
        return []
    _, found = _measured_before_training(setup, plan, network, seed, measure, targets)
    return found


def figures_before_training(
    setup: TrialSetup, plan: TrialPlan, network: nn.Module, seed: int, measure: Measure, target: Backend
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """What step 0 would have said of a target that came later: its figures by metric, and the measurement.

    Args:
        setup: what all trials share.
        plan: the trial's.
        network: as it was at step 0; left so.
        seed: of the same.
        measure: has a model file measured.
        target: the one that came.
    """
    measured = [target] if target in setup.measured else []
    values, found = _measured_before_training(setup, plan, network, seed, measure, measured)
    for each in found:
        values |= values_of(each)
    return of_target(values, target), found


def of_target(values: Mapping[str, float], target: Backend) -> dict[str, float]:
    """Those of values that are of one target."""
    return {metric: value for metric, value in values.items() if metric.endswith(f"/{target.name}")}


def _measured_before_training(
    setup: TrialSetup,
    plan: TrialPlan,
    network: nn.Module,
    seed: int,
    measure: Measure,
    targets: Sequence[Backend],
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The static figures of a network as it was at step 0, and its measurements on some targets."""
    model = recalibrated(network, setup.task.train, setup.task.collate, seed)
    with tempfile.TemporaryDirectory() as folder:
        module, files = _exported(setup, plan, model, Path(folder))
        pattern = plan.sparsity.pattern if plan.sparsity else "none"
        return static_figures(module, files, setup.targets, pattern), [
            measure(
                target,
                files[target.form],
                feed_of(setup.task.example_input(target.batch)),
                description=replace(_described(files[target.form], files), spare=False),
            )
            for target in targets
        ]


def _exported(
    setup: TrialSetup, plan: TrialPlan, model: nn.Module, folder: Path
) -> tuple[fx.GraphModule, dict[str, Path]]:
    """A network as it is deployed, and its files."""

    def trace() -> tuple[fx.GraphModule, dict[str, Path]]:
        module = as_deployed(model, setup.task, plan, setup.seed, *setup.rounding)
        return module, write_files(module, folder, setup.forms)

    return run_limited(trace, TRACING_LIMIT_S, "tracing and exporting the network")


def _described(file: Path, files: Mapping[str, Path]) -> Description:
    """A file that is to be measured; what it computes is read from the ONNX file, whatever its own form."""
    return Description(structure_key(file), features(operators_of(files["uint8"])))


def estimates(
    setup: TrialSetup,
    plan: TrialPlan,
    network: nn.Module,
    files: Mapping[str, Path],
    measure: Measure,
    *,
    in_integers: bool,
) -> list[dict[str, Any]]:
    """What targets that are not timed say of a trained network: their compilers look at its weights' values.

    Args:
        setup: what all trials share.
        plan: the trial's.
        network: trained, in float where it has no quantisers.
        files: of it as it is deployed, by form.
        measure: has a model file measured.
        in_integers: see ``hardware_report``.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for target in setup.measured:
            if not isinstance(target, Estimator):
                continue
            file, stands_in = files[target.form], in_integers and _stands_in(plan, target)
            if stands_in:
                file = _at_eight_bits(setup, plan, network, target.form, Path(folder))
            said = measure(target, file, feed_of(setup.task.example_input(target.batch)))
            found.append({**said, "stands_in": True} if stands_in else said)
    return found


def _stands_in(plan: TrialPlan, target: Backend) -> bool:
    """Whether a target is asked about a network's form at eight bits: it computes nothing in float."""
    return not plan.bits.quantized and in_integers_alone(target)


def _at_eight_bits(setup: TrialSetup, plan: TrialPlan, model: nn.Module, form: Form, folder: Path) -> Path:
    """The file of a network with all its layers at eight bits, calibrated and not trained."""
    task = setup.task
    layers = quantizable_layers(model, task.example_input(2), task.exclude)
    bits = BitWidthPlan(dict.fromkeys(layers, 8), dict.fromkeys(layers, 8))
    folder.mkdir(exist_ok=True)
    module = as_deployed(model, task, replace(plan, bits=bits), setup.seed, *setup.rounding)
    return write_files(module, folder, [form])[form]
