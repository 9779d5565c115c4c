"""Step 0 of a trial: what its network costs on the targets, and its metrics before training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import fx, nn

from raysearch.backends.base import values_of
from raysearch.networks.nests import device_of
from raysearch.networks.running import run_limited
from raysearch.search_spaces.plans import TrialPlan
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.export.deployment import as_deployed, remarks, static_figures, write_files
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.pruning.recalibration import recalibrated
from raysearch.trainables.setup import Measure, Report, TrialSetup

# How long tracing and exporting one network may take: a ResNet-50 needs some ten seconds on a busy core.
TRACING_LIMIT_S = 180.0


def hardware_report(
    setup: TrialSetup, plan: TrialPlan, network: nn.Module, seed: int, measure: Measure, *, reference: bool
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
    """
    task = setup.task
    model = recalibrated(network, task.train, task.collate, seed)
    with tempfile.TemporaryDirectory() as folder:

        def trace() -> tuple[fx.GraphModule, dict[str, Path]]:
            module = as_deployed(model, task, plan, setup.seed, *setup.rounding)
            return module, write_files(module, Path(folder), setup.forms)

        module, files = run_limited(trace, TRACING_LIMIT_S, "tracing and exporting the network")
        pattern = plan.sparsity.pattern if plan.sparsity else "none"
        values = static_figures(module, files, setup.targets, pattern)
        values |= evaluate(module.to(device_of(network)), task.validation, task.metrics, task.collate)
        measurements = []
        for target in setup.measured:
            example = feed_of(task.example_input(target.batch))
            measured = measure(target, files[target.form], example, reference=reference)
            values |= values_of(measured)
            measurements.append(measured)
    remarked = remarks(module, plan, setup.weight_bits, setup.targets)
    remarked += [f"{m['target']}: {note}" for m in measurements for note in m.get("notes", ())]
    return Report(0, values, measurements, remarked)
