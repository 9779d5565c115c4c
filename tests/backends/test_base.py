"""Measurements survive the journal."""

import dataclasses
import json

import pytest

from raysearch.backends.base import Estimate, Measurement, cpu_name, from_dict, to_dict, values_of

MEASUREMENT = Measurement(
    target="onnxruntime-cpu",
    key="k",
    structure="s",
    reference="r",
    latency_ms=0.5,
    ratio=0.25,
    reference_ms=2.0,
    noise=0.01,
    cpu_ms={"p10": 0.4, "p50": 0.5, "p90": 0.6},
    wall_ms={"p50": 0.5, "p90": 0.6, "p99": 0.9},
    contention=0.0,
    slowdown=1.0,
    contended=False,
    samples=60,
    seconds=1.0,
    runtime="onnxruntime",
    version="1",
    device="cpu",
    threads=1,
    batch=1,
)
ESTIMATE = Estimate(
    target="npu",
    key="k",
    structure="s",
    figures={"latency_ms": 2.0, "flash_mb": 0.1},
    runtime="compiler",
    version="1",
    device="npu",
    batch=1,
    seconds=1.0,
    notes=["one operator is left to the processor"],
)


def test_round_trip_through_json():
    for known in (MEASUREMENT, ESTIMATE):
        assert from_dict(json.loads(json.dumps(to_dict(known)))) == known


def test_keys_of_a_later_version_are_left_out():
    assert from_dict({**to_dict(MEASUREMENT), "watts": 3}) == MEASUREMENT


def test_a_missing_field_is_named():
    data = to_dict(MEASUREMENT)
    del data["ratio"]
    with pytest.raises(ValueError, match="ratio"):
        from_dict(data)


def test_values_are_by_metric_and_target():
    batch = to_dict(dataclasses.replace(MEASUREMENT, batch=8))
    assert values_of(batch) == {"latency_ms/onnxruntime-cpu": 0.5, "throughput/onnxruntime-cpu": 16_000.0}
    assert values_of(to_dict(ESTIMATE)) == {"latency_ms/npu": 2.0, "flash_mb/npu": 0.1}


def test_measurements_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MEASUREMENT.ratio = 1.0  # type: ignore[misc]


def test_cpu_has_a_name():
    assert cpu_name()
