"""The measurement service: caching, resuming, errors, a ratio that makes sense, and the same through Ray."""

from __future__ import annotations

import tempfile
import threading
import time
from typing import Any

import numpy as np
import pytest

from raysearch.backends.base import Measurement, MeasurementError, from_dict, values_of
from raysearch.backends.energy import power
from raysearch.backends.energy.power import Counter
from raysearch.backends.measurement.protocol import Protocol, measure
from raysearch.backends.measurement.service import MeasurementService
from raysearch.backends.runtimes.onnxruntime import OnnxModel

TARGET = "onnxruntime-cpu"
QUICK = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0, settle_ms=0.5, block_ms=0.5)
EXAMPLE = {"input": np.zeros((1, 1, 8, 8), np.float32)}


@pytest.fixture
def service(tmp_path):
    return MeasurementService(QUICK, tmp_path / "service")


def test_reference_has_ratio_one_and_its_own_latency(service, small):
    measurement = from_dict(service.set_reference(TARGET, small, EXAMPLE))
    assert measurement.ratio == 1.0
    assert measurement.latency_ms == measurement.reference_ms > 0
    assert measurement.reference == measurement.structure
    assert not measurement.cached


def test_a_measurement_says_where_it_comes_from(service, small, large):
    reference = service.set_reference(TARGET, small, EXAMPLE)
    measured = service.measure(TARGET, large, EXAMPLE)
    assert measured["latency_ms"] == pytest.approx(measured["ratio"] * reference["reference_ms"])
    assert measured["reference"] == reference["structure"] != measured["structure"]
    assert (measured["runtime"], measured["threads"], measured["batch"]) == ("onnxruntime", 1, 1)
    assert measured["source"] == "measured"
    assert measured["samples"] == 6
    assert measured["version"]
    assert measured["device"]
    assert measured["cpu_ms"]["p10"] <= measured["cpu_ms"]["p50"] <= measured["cpu_ms"]["p90"]
    assert 0 <= measured["contention"] <= 1
    assert measured["slowdown"] > 0


def test_other_weights_come_from_the_cache(service, export, small):
    service.set_reference(TARGET, small, EXAMPLE)
    first = service.measure(TARGET, export(16, seed=0).read_bytes(), EXAMPLE)
    second = service.measure(TARGET, export(16, seed=1).read_bytes(), EXAMPLE)
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["latency_ms"] == first["latency_ms"]


def test_the_parent_itself_comes_from_the_cache(service, small):
    reference = service.set_reference(TARGET, small, EXAMPLE)
    measured = service.measure(TARGET, small, EXAMPLE)
    assert measured == {**reference, "cached": True}


def test_another_batch_is_another_measurement(service, small, large):
    service.set_reference(TARGET, small, EXAMPLE)
    service.measure(TARGET, large, EXAMPLE)
    batch = service.measure(TARGET, large, {"input": np.zeros((4, 1, 8, 8), np.float32)})
    assert not batch["cached"]
    assert batch["batch"] == 4


def test_remeasuring_replaces_the_cached_figure(service, small, large):
    service.set_reference(TARGET, small, EXAMPLE)
    first = service.measure(TARGET, large, EXAMPLE)
    again = service.remeasure(TARGET, large, EXAMPLE)
    assert not again["cached"]
    assert again["key"] == first["key"]
    assert service.measure(TARGET, large, EXAMPLE) == {**again, "cached": True}


def test_a_resumed_run_measures_nothing_twice_and_keeps_its_unit(service, tmp_path, small, large):
    reference = service.set_reference(TARGET, small, EXAMPLE)
    measured = service.measure(TARGET, large, EXAMPLE)
    resumed = MeasurementService(QUICK, tmp_path / "resumed")
    resumed.known([reference, measured])
    assert resumed.set_reference(TARGET, small, EXAMPLE) == {**reference, "cached": True}
    assert resumed.measure(TARGET, large, EXAMPLE) == {**measured, "cached": True}


def test_figures_against_another_reference_or_protocol_are_not_reused(service, tmp_path, small, large):
    service.set_reference(TARGET, small, EXAMPLE)
    measured = service.measure(TARGET, large, EXAMPLE)
    service.set_reference(TARGET, large, EXAMPLE)
    assert service.measure(TARGET, large, EXAMPLE)["ratio"] == 1.0
    other = MeasurementService(Protocol(round_samples=7, max_rounds=1, warm_s=0.0), tmp_path / "other")
    other.known([measured])
    other.set_reference(TARGET, small, EXAMPLE)
    assert not other.measure(TARGET, large, EXAMPLE)["cached"]


def test_the_first_model_measured_is_the_reference_where_there_is_none(service, small, large):
    first = service.measure(TARGET, small, EXAMPLE)
    assert first["ratio"] == 1.0
    second = service.measure(TARGET, large, EXAMPLE)
    assert second["reference"] == first["structure"] != second["structure"]
    assert service.measure(TARGET, small, EXAMPLE) == {**first, "cached": True}


def test_a_model_that_fails_does_not_become_the_reference(service, small):
    with pytest.raises(MeasurementError, match="cannot run the model"):
        service.measure(TARGET, b"rubbish", EXAMPLE)
    assert service.measure(TARGET, small, EXAMPLE)["ratio"] == 1.0


def test_to_remeasure_needs_a_reference_first(service, small):
    with pytest.raises(ValueError, match="no reference yet: call set_reference"):
        service.remeasure(TARGET, small, EXAMPLE)


def test_an_unknown_target_is_refused(service, small):
    with pytest.raises(ValueError, match="unknown"):
        service.set_reference("onnx-cpu", small, EXAMPLE)


def test_a_missing_runtime_is_named(service, small, monkeypatch):
    monkeypatch.setattr("raysearch.backends.runtimes.onnxruntime.find_spec", lambda name: None)
    with pytest.raises(MeasurementError, match="pip install onnxruntime"):
        service.set_reference(TARGET, small, EXAMPLE)


@pytest.mark.parametrize(
    ("model", "example"), [(b"rubbish", EXAMPLE), (None, {"input": np.zeros((1, 3, 8, 8), np.float32)})]
)
def test_a_model_that_fails_leaves_the_service_alive(service, small, large, tmp_path, model, example):
    service.set_reference(TARGET, small, EXAMPLE)
    with pytest.raises(MeasurementError, match="onnxruntime-cpu cannot"):
        service.measure(TARGET, model or large, example)
    assert service.measure(TARGET, large, EXAMPLE)["latency_ms"] > 0
    assert {p.name for p in (tmp_path / "service").iterdir()} == {"known.jsonl"}


def test_a_half_written_figure_is_measured_again(service, tmp_path, small, large):
    reference = service.set_reference(TARGET, small, EXAMPLE)
    service.measure(TARGET, large, EXAMPLE)
    log = tmp_path / "service" / "known.jsonl"
    log.write_bytes(log.read_bytes()[:-40])
    successor = MeasurementService(QUICK, tmp_path / "service")
    assert successor.set_reference(TARGET, small, EXAMPLE) == {**reference, "cached": True}
    again = successor.measure(TARGET, large, EXAMPLE)
    assert not again["cached"]
    third = MeasurementService(QUICK, tmp_path / "service")
    assert third.set_reference(TARGET, small, EXAMPLE) == {**reference, "cached": True}
    assert third.measure(TARGET, large, EXAMPLE) == {**again, "cached": True}


def test_two_services_never_measure_at_once(tmp_path, small, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    measuring, most = 0, 0

    def slowly(*given):
        nonlocal measuring, most
        measuring += 1
        most = max(most, measuring)
        time.sleep(0.1)
        measuring -= 1
        return measure(*given)

    monkeypatch.setattr("raysearch.backends.measurement.service.measure", slowly)
    services = [MeasurementService(QUICK, tmp_path / name) for name in ("one", "two", "three")]
    threads = [threading.Thread(target=s.set_reference, args=(TARGET, small, EXAMPLE)) for s in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(s.measure(TARGET, small, EXAMPLE)["cached"] for s in services)
    assert most == 1


def test_the_service_gives_energy_beside_latency(service, small, large, monkeypatch):
    calls = 0
    original = OnnxModel.runner

    def counting(model: Any, feed: Any) -> Any:
        run = original(model, feed)

        def infer() -> None:
            nonlocal calls
            calls += 1
            run()

        return infer

    monkeypatch.setattr(OnnxModel, "runner", counting)
    # 5 W all the time, and 3 mJ an inference.
    meter = Counter("simulated", lambda: 5 * time.perf_counter() + 3e-3 * calls)
    monkeypatch.setattr("raysearch.backends.measurement.service.opened", lambda *_: meter)
    monkeypatch.setattr(power, "_BUSY_S", 0.05)
    target = {"name": "metered", "runtime": "onnxruntime-cpu", "meter": ["true"]}
    monkeypatch.setattr("raysearch.backends.energy.meters.opened", lambda *_: meter)
    service.set_reference(target, small, EXAMPLE)
    measured = service.measure(target, large, EXAMPLE)
    assert measured["energy_mj"] == pytest.approx(3.0, rel=0.02)
    assert 0 <= measured["energy_noise"] < 0.2
    assert values_of(measured)["energy_mj/metered"] == measured["energy_mj"]
    assert service.measure(target, large, EXAMPLE) == {**measured, "cached": True}
    plain = service.set_reference("onnxruntime-cpu", small, EXAMPLE)
    assert plain["energy_mj"] is None
    assert not any(key.startswith("energy") for key in values_of(plain))
    assert {f for f in Measurement.__dataclass_fields__ if f.startswith("energy")} == {
        "energy_mj",
        "energy_noise",
    }


def test_closing_removes_the_folder(service, tmp_path, small):
    service.set_reference(TARGET, small, EXAMPLE)
    service.close()
    assert not (tmp_path / "service").exists()
    with pytest.raises(MeasurementError, match="is closed"):
        service.measure(TARGET, small, EXAMPLE)


@pytest.mark.parametrize(("target", "suffix"), [(TARGET, ".onnx"), ("torch-cpu", ".pt2")])
def test_more_work_measures_slower(tmp_path, export, target, suffix):
    service = MeasurementService(Protocol(), tmp_path)
    service.set_reference(target, export(32, suffix=suffix).read_bytes(), EXAMPLE)
    # About 14 times the multiply-accumulates; eager torch's overhead hides most of them.
    ratio = service.measure(target, export(128, suffix=suffix).read_bytes(), EXAMPLE)["ratio"]
    assert 1.15 < ratio < 40
