"""Which targets' latencies a search may predict."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from raysearch.backends import get
from raysearch.backends.base import MeasurementError
from raysearch.objectives import Goals
from raysearch.runs import sparing
from raysearch.runs.sparing import limits, spare_measurements

OBJECTIVES = ["maximize accuracy"]


def goals(*constraints: str) -> Goals:
    parent = {0: {"latency_ms/onnxruntime-cpu": 4.0, "latency_ms/fast": 1.0, "throughput/fast": 1000.0}}
    return Goals.parse(OBJECTIVES, list(constraints), 5, parent)


@pytest.mark.parametrize(
    ("constraint", "found"),
    [
        ("latency_ms/fast <= 0.5 parent", [0.5]),
        ("latency_ms/fast <= 2.5", [2.5]),
        ("throughput/fast >= 4000", [2.0]),  # batches of eight
        ("throughput/fast >= 2 parent", [4.0]),
        ("latency_ms/onnxruntime-cpu <= 3", []),
        ("latency_ms/unknown <= 0.5 parent", []),
        ("size_mb <= 3", []),
    ],
)
def test_limits_are_those_of_the_target_in_ms_of_a_batch(constraint: str, found: list[float]) -> None:
    target = get({"name": "fast", "runtime": "onnxruntime-cpu", "batch": 8})
    assert limits(goals(constraint), target) == pytest.approx(found)


class Service:
    def __init__(self) -> None:
        self.allowed: dict[str, Any] = {}

    def spare(self, target: Any, known: Any, limits: list[float]) -> None:
        self.allowed[target if isinstance(target, str) else target["name"]] = (known, limits)


def session(screen: int, *targets: Any) -> Any:
    return SimpleNamespace(
        work=SimpleNamespace(screen=screen), record=None, setup=SimpleNamespace(measured=targets)
    )


def test_only_where_candidates_wait_and_a_latency_is_all_that_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sparing, "goals_of", lambda record: goals("latency_ms/onnxruntime-cpu <= 0.5 parent"))
    profiles = {"onnxruntime-cpu": {"predictor": {"models": []}}}
    monkeypatch.setattr(sparing.profiles, "stored", lambda target: profiles.get(target.name))
    metered = replace(get("torch-cpu"), name="metered", meter=("watts",))  # type: ignore[type-var]
    targets = (get("onnxruntime-cpu"), get("torch-cpu"), metered, get("ethos-u55-128"))
    service: Any = Service()
    spare_measurements(session(1, *targets), service)
    assert not service.allowed
    spare_measurements(session(4, *targets), service)
    assert service.allowed == {"onnxruntime-cpu": ({"models": []}, [2.0]), "torch-cpu": (None, [])}


def test_a_device_that_is_away_has_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(target: Any) -> None:
        raise MeasurementError("the board does not answer")

    monkeypatch.setattr(sparing, "goals_of", lambda record: goals())
    monkeypatch.setattr(sparing.profiles, "stored", away)
    service: Any = Service()
    spare_measurements(session(4, get("torch-cpu")), service)
    assert service.allowed == {"torch-cpu": (None, [])}
