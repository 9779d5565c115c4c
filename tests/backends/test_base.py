"""Measurements survive the journal."""

import dataclasses
import json

import pytest

from raysearch.backends.base import Measurement, cpu_name

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


def test_round_trip_through_json():
    text = json.dumps(MEASUREMENT.to_dict())
    assert Measurement.from_dict(json.loads(text)) == MEASUREMENT


def test_keys_of_a_later_version_are_left_out():
    assert Measurement.from_dict({**MEASUREMENT.to_dict(), "watts": 3}) == MEASUREMENT


def test_a_missing_field_is_named():
    data = MEASUREMENT.to_dict()
    del data["ratio"]
    with pytest.raises(ValueError, match="ratio"):
        Measurement.from_dict(data)


def test_metric_names_the_target():
    assert MEASUREMENT.metric == "latency_ms/onnxruntime-cpu"


def test_measurements_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MEASUREMENT.ratio = 1.0  # type: ignore[misc]


def test_cpu_has_a_name():
    assert cpu_name()
