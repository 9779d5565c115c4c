"""The static int8 form of the parent and the final figures, measured in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trial_setup import PARENT, make_setup

from raysearch.backends import get, spec_of
from raysearch.backends.base import Backend
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.service import MeasurementService
from raysearch.backends.runtimes import torch as torch_backend
from raysearch.trainables import finalists
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.export.feeds import function_of
from raysearch.trainables.finalists import final_figures, static_int8_reports
from raysearch.trainables.setup import Measure, TrialSetup
from raysearch.trainables.stages import TrialStages

TARGET = "onnxruntime-cpu"
QUICK = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0, settle_ms=0.5, block_ms=0.5)


def in_process(service: MeasurementService, calls: list[str]) -> Measure:
    """A ``Measure`` over a service of this process, that notes what it is asked for."""

    def measure(
        target: Backend,
        path: Path,
        example: Any,
        *,
        reference: bool = False,
        again: bool = False,
        description: Any = None,
    ) -> dict[str, Any]:
        name = "set_reference" if reference else "remeasure" if again else "measure"
        calls.append(name)
        method: Callable[..., dict[str, Any]] = getattr(service, name)
        return method(spec_of(target), path.read_bytes(), example)

    return measure


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialSetup, Measure, list[str]]:
    """A run whose parent is trained, on two targets of different files."""
    torch.set_num_threads(1)
    calls: list[str] = []
    measure = in_process(MeasurementService(QUICK), calls)
    setup = make_setup(tmp_path_factory.mktemp("run"), targets=(TARGET, "torch-cpu"))
    parent = TrialStages(setup, "parent", PARENT, measure)
    for _ in range(parent.last_step + 1):
        parent.next_report()
    return setup, measure, calls


@pytest.fixture
def setup(run: tuple[TrialSetup, Measure, list[str]], monkeypatch: pytest.MonkeyPatch) -> TrialSetup:
    setup, measure, calls = run
    calls.clear()
    monkeypatch.setattr(finalists, "measure_through", lambda service: measure)
    return setup


@pytest.fixture
def calls(run: tuple[TrialSetup, Measure, list[str]]) -> list[str]:
    return run[2]


def test_the_static_int8_form_is_smaller_and_nearly_as_accurate(setup: TrialSetup, calls: list[str]) -> None:
    hardware, last = static_int8_reports(setup)
    assert (hardware["step"], last["step"]) == (0, setup.epochs + 1)
    values = hardware["values"]
    # Only the target that runs ONNX files has such a form.
    assert set(values) == {
        f"latency_ms/{TARGET}",
        f"throughput/{TARGET}",
        "size_mb",
        "file_mb",
        "macs",
        "params",
    }
    assert all(value > 0 for value in values.values())
    assert [m["target"] for m in hardware["measurements"]] == [TARGET]
    assert values[f"latency_ms/{TARGET}"] == hardware["measurements"][0]["latency_ms"]
    assert calls == ["measure"]
    assert set(last["values"]) == {"accuracy", f"accuracy/{TARGET}"}
    file, whole = (setup.variant_folder(name) / "model.onnx" for name in ("parent-int8", "parent"))
    deployed = function_of(get(TARGET).load(whole), torch.zeros(1, 10))
    parent = evaluate(deployed, setup.task.validation, setup.task.metrics)
    assert last["values"]["accuracy"] == pytest.approx(parent["accuracy"], abs=0.1)
    assert values["file_mb"] == file.stat().st_size / 1e6
    assert values["size_mb"] < 0.5 * whole.stat().st_size / 1e6


def test_without_a_target_for_it_there_are_only_static_figures(setup: TrialSetup) -> None:
    other = replace(setup, targets=(get("torch-cpu"),))
    hardware, last = static_int8_reports(other)
    assert set(hardware["values"]) == {"size_mb", "file_mb", "macs", "params"}
    assert last["values"] == {}


def test_final_figures_are_measured_past_the_cache_on_every_target(
    setup: TrialSetup, calls: list[str]
) -> None:
    report = final_figures(setup, "parent")
    assert calls == ["remeasure", "remeasure"]
    assert report["step"] == setup.epochs + 1
    values = report["values"]
    for measured in report["measurements"]:
        assert not measured["cached"]
        assert values[f"latency_ms/{measured['target']}"] == measured["latency_ms"] > 0
    each = [values[f"test_accuracy/{target.name}"] for target in setup.targets]
    assert values["test_accuracy"] == min(each)
    assert 0 <= min(each) <= max(each) <= 1


COMPILED = "torch-compile-cpu"


@pytest.fixture
def with_compiled(setup: TrialSetup, monkeypatch: pytest.MonkeyPatch) -> TrialSetup:
    """The run with a target of finalists only, on which compiling is quick."""
    monkeypatch.setitem(torch_backend._BUILDERS, "compile", torch_backend._eager)  # type: ignore[arg-type]
    return replace(setup, targets=(*setup.targets, get(COMPILED)))


def test_a_target_that_compiles_for_long_is_measured_at_the_end_alone(
    with_compiled: TrialSetup, run: tuple[TrialSetup, Measure, list[str]], calls: list[str]
) -> None:
    assert [t.name for t in with_compiled.measured] == [TARGET, "torch-cpu"]
    assert [t.name for t in with_compiled.measured_last] == [COMPILED]
    other = replace(with_compiled, folder=with_compiled.folder / "other")
    trial = TrialStages(other, "parent", PARENT, run[1])
    report = trial.next_report()
    assert [m["target"] for m in report.measurements] == [TARGET, "torch-cpu"]
    assert f"latency_ms/{COMPILED}" not in report.values
    assert report.values[f"peak_memory_mb/{COMPILED}"] > 0
    file = with_compiled.variant_folder("parent") / "model.pt2"
    example = {"x": torch.zeros(1, 1, 8, 8).numpy()}
    run[1](get(COMPILED), file, example, reference=True)
    calls.clear()
    final = final_figures(with_compiled, "parent")
    assert calls == ["remeasure"] * 3
    assert final["values"][f"latency_ms/{COMPILED}"] > 0
    assert final["values"][f"test_accuracy/{COMPILED}"] == final["values"]["test_accuracy/torch-cpu"]
    assert final["notes"] == []


def test_what_cannot_be_compiled_lacks_no_other_figure(
    with_compiled: TrialSetup, run: tuple[TrialSetup, Measure, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = with_compiled.variant_folder("parent") / "model.pt2"
    run[1](get(COMPILED), file, {"x": torch.zeros(1, 1, 8, 8).numpy()}, reference=True)
    report = final_figures(with_compiled, "parent", {COMPILED: "no such operator"})
    assert report["notes"] == [f"not measured on {COMPILED}: the parent cannot be: no such operator"]
    assert f"latency_ms/{COMPILED}" not in report["values"]
    assert {f"latency_ms/{TARGET}", f"test_accuracy/{COMPILED}"} <= set(report["values"])

    def fail(*_: Any) -> Any:
        raise RuntimeError("g++ failed")

    monkeypatch.setitem(torch_backend._BUILDERS, "compile", fail)  # type: ignore[arg-type]
    report = final_figures(with_compiled, "parent")
    assert report["notes"] == [
        f"not measured on {COMPILED}: {COMPILED} cannot run the model: g++ failed",
    ]


def test_a_variant_without_a_targets_file_is_measured_where_it_has_one(
    setup: TrialSetup, calls: list[str]
) -> None:
    static_int8_reports(setup)
    calls.clear()
    values = final_figures(setup, "parent-int8")["values"]
    assert calls == ["remeasure"]
    measured = {f"latency_ms/{TARGET}", f"throughput/{TARGET}"}
    assert set(values) == {*measured, f"test_accuracy/{TARGET}", "test_accuracy"}
