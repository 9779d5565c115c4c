"""What measuring a target costs, and the predictions that take its place."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from raysearch.backends.base import values_of
from raysearch.backends.measurement.spared import Description, Seconds, Spared
from raysearch.backends.predictor import fit
from raysearch.basics.figures import is_prediction

HOW = {"runtime": "onnxruntime", "version": "1.31", "device": "a board", "threads": 1, "batch": 2}


def operators(size: float) -> dict[str, float]:
    return {"Conv 3x3/count": 4.0, "Conv 3x3/macs": 1e6 * size, "Conv 3x3/bytes": 1e4 * size}


def measurement(size: float, structure: str = "") -> dict[str, Any]:
    return {"target": "board", "structure": structure or f"s{size}", "latency_ms": 0.5 + 0.1 * size, **HOW}


def learnt(spared: Spared) -> Spared:
    for size in np.random.default_rng(0).uniform(1, 30, 20):
        spared.learn(measurement(size), operators(size))
    return spared


def test_a_prediction_says_where_it_comes_from_in_plain_json() -> None:
    spared = learnt(Spared("board"))
    spared.allow(None, [])
    found = spared.prediction(Description("new", operators(12.0)))
    assert found is not None
    assert found == json.loads(json.dumps(found))
    assert is_prediction(found)
    assert {key: found[key] for key in HOW} == HOW
    assert (found["target"], found["source"], found["models"]) == ("board", "predicted", 20)
    low, high = found["interval"]
    assert low < found["latency_ms"] < high
    assert found["noise"] == pytest.approx((high - low) / 2 / found["latency_ms"])
    assert found["latency_ms"] == pytest.approx(1.7, rel=0.1)
    said = values_of(found)
    assert said["throughput/board"] == pytest.approx(2e3 / found["latency_ms"])


def test_nothing_is_predicted_before_it_is_allowed_or_of_what_was_measured() -> None:
    spared = learnt(Spared("board"))
    assert spared.prediction(Description("new", operators(12.0))) is None
    spared.allow(None, [])
    spared.learn(measurement(12.0, "known"), operators(12.0))
    assert spared.prediction(Description("known", operators(12.0))) is None
    assert spared.prediction(Description("new", operators(12.0))) is not None
    spared.allow(None, [1.7])
    assert spared.prediction(Description("new", operators(12.0))) is None


def test_a_structure_counts_once_and_a_figure_that_is_none_never() -> None:
    spared = Spared("board")
    spared.allow(None, [])
    for _ in range(30):
        spared.learn(measurement(3.0, "same"), operators(3.0))
    spared.learn({**measurement(5.0), "latency_ms": float("nan")}, operators(5.0))
    assert spared.prediction(Description("new", operators(3.0))) is None


def test_a_profile_of_the_device_counts() -> None:
    profile = fit([operators(size) for size in range(1, 31)], [0.5 + 0.1 * size for size in range(1, 31)])
    spared = Spared("board")
    spared.allow(profile.state(), [])
    learnt(spared)
    assert spared.prediction(Description("new", operators(12.0))) is not None


def test_seconds_are_of_the_latest_requests() -> None:
    seconds = Seconds()
    assert seconds.mean == seconds.median == 0.0
    for value in (100.0, *[1.0] * 8, 3.0):
        seconds.add(value)
    assert seconds.median == 1.0
    assert seconds.mean == pytest.approx(11 / 9)
