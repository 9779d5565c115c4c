"""What is done with no trial running: the parent's static int8 form, its parts, the front's last figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from safetensors.torch import load_file

from raysearch import backends
from raysearch.backends import graph
from raysearch.backends.static_int8 import static_int8
from raysearch.sweeps.left_out import metric_without
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.measuring import measure_through
from raysearch.trainables.setup import CALIBRATION_SAMPLES, FILES, TrialSetup
from raysearch.trainables.stages import Report
from raysearch.trainables.training import batches


def static_int8_reports(setup: TrialSetup) -> list[dict[str, Any]]:
    """Quantise the parent's ONNX file by ONNX Runtime's own static quantisation, and measure that.

    Returns:
        Two reports as dictionaries, of step 0 and of the last step, for the targets that run such a file.
    """
    import torch

    folder = setup.variant_folder("parent-int8")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILES["uint8"]
    generator = torch.Generator().manual_seed(setup.seed)
    x, _ = next(iter(batches(setup.task.train, CALIBRATION_SAMPLES, generator)))
    static_int8(setup.variant_folder("parent") / FILES["uint8"], [x.numpy()], path)
    targets = [t for t in setup.targets if backends.get(t).form == "uint8"]
    example = setup.task.example_input().numpy()
    measure = measure_through(setup.service)
    measured = [measure(t, path, example) for t in targets]
    accuracy = {
        f"accuracy/{t}": evaluate(backends.get(t).load(path), setup.task.validation, setup.task.metric)
        for t in targets
    }
    static = {f"latency_ms/{t}": m["latency_ms"] for t, m in zip(targets, measured, strict=True)}
    static |= {
        "size_mb": graph.weights_mb(path),
        "file_mb": path.stat().st_size / 1e6,
        "macs": float(graph.macs(path)),
        "params": float(graph.params(path)),
    }
    last = {**accuracy, "accuracy": min(accuracy.values())} if accuracy else {}
    return [asdict(Report(0, static, measured)), asdict(Report(setup.epochs + 1, last))]


def left_out(setup: TrialSetup, parts: Sequence[str]) -> dict[str, Any]:
    """The trained parent's accuracy on the validation split, whole and without each of several parts.

    Returns:
        ``accuracy``, and ``without`` by part.

    Raises:
        ValueError: a part cannot be left out.
    """
    model = setup.task.build(setup.space.decode(setup.references["parent"]).architecture)
    model.load_state_dict(load_file(setup.reference_weights("parent")))
    task = setup.task
    return {
        "accuracy": evaluate(model, task.validation, task.metric),
        "without": metric_without(model, parts, task.validation, task.metric),
    }


def final_figures(setup: TrialSetup, name: str) -> dict[str, Any]:
    """Measure a finished variant again, past the cache, and evaluate it on the test split.

    Returns:
        A report as a dictionary: latency_ms/<target>, test_accuracy/<target> and their lowest, test_accuracy.
    """
    values: dict[str, float] = {}
    measurements = []
    example = setup.task.example_input().numpy()
    for target in setup.targets:
        path = setup.variant_folder(name) / FILES[backends.get(target).form]
        if not path.exists():
            continue
        measured = measure_through(setup.service)(target, path, example, again=True)
        measurements.append(measured)
        values[f"latency_ms/{target}"] = measured["latency_ms"]
        values[f"test_accuracy/{target}"] = evaluate(
            backends.get(target).load(path), setup.task.test, setup.task.metric
        )
    values["test_accuracy"] = min(v for k, v in values.items() if k.startswith("test_accuracy/"))
    return asdict(Report(setup.epochs + 1, values, measurements))
