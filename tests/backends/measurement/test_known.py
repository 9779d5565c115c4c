"""Figures are shared between runs in each run's own unit, and what was disturbed is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from raysearch import backends
from raysearch.backends.base import from_dict, to_dict
from raysearch.backends.measurement.known import KnownFigures
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.service import MeasurementService

TARGET = "onnxruntime-cpu"
BACKEND = backends.get(TARGET)
QUICK = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0, settle_ms=0.5, block_ms=0.5)
LAX = replace(QUICK, tolerance=1e9)
EXAMPLE = {"input": np.zeros((1, 1, 8, 8), np.float32)}


@pytest.fixture
def shared(tmp_path):
    return tmp_path / "shared"


def test_another_run_finds_what_was_measured(tmp_path, shared, small, large, monkeypatch):
    monkeypatch.setattr("raysearch.backends.measurement.measured._CONTENTION", 2.0)
    monkeypatch.setattr("raysearch.backends.measurement.measured._SLOWDOWN", 1e9)
    first = MeasurementService(LAX, tmp_path / "one", shared)
    first.set_reference(TARGET, small, EXAMPLE)
    measured = first.measure(TARGET, large, EXAMPLE)
    second = MeasurementService(LAX, tmp_path / "two", shared)
    assert second.set_reference(TARGET, small, EXAMPLE)["cached"]
    assert second.measure(TARGET, large, EXAMPLE) == {**measured, "cached": True}
    alone = MeasurementService(LAX, tmp_path / "three")
    assert not alone.set_reference(TARGET, small, EXAMPLE)["cached"]


def test_a_shared_figure_is_told_in_this_runs_unit(tmp_path, shared, small, large):
    """The other run's parent was measured when the machine was slow, and is not shared."""
    here = MeasurementService(LAX, tmp_path / "here", shared)
    own = here.set_reference(TARGET, small, EXAMPLE)
    measured = from_dict(here.measure(TARGET, large, EXAMPLE))
    slow = replace(measured, ratio=2.0, reference_ms=10.0, latency_ms=20.0, contended=False, converged=True)
    file = next(iter(shared.glob("*.jsonl")), shared / "none")
    kept = KnownFigures(tmp_path / "other.jsonl", shared)
    kept.learn(slow)
    file = next(iter(shared.glob("*.jsonl")))
    file.write_text(
        "".join(f"{line}\n" for line in file.read_text().splitlines() if json.loads(line)["ratio"] == 2)
    )
    later = MeasurementService(LAX, tmp_path / "later", shared)
    quiet = later.set_reference(TARGET, small, EXAMPLE)["reference_ms"]
    found = later.measure(TARGET, large, EXAMPLE)
    assert found["cached"]
    assert found["latency_ms"] == pytest.approx(2.0 * quiet)
    assert found["reference_ms"] == quiet
    assert own["ratio"] == 1.0


def test_disturbed_figures_and_those_of_other_devices_are_not_shared(tmp_path, shared, small):
    service = MeasurementService(LAX, tmp_path / "service")
    found = from_dict(service.set_reference(TARGET, small, EXAMPLE))
    known = KnownFigures(tmp_path / "log.jsonl", shared)
    known.learn(replace(found, contended=True))
    known.learn(replace(found, converged=False))
    known.learn(replace(found, contended=False, converged=True), share=False)
    assert not list(shared.glob("*"))
    known.learn(replace(found, contended=False, converged=True))
    assert len(list(shared.glob("*"))) == 1
    assert KnownFigures(tmp_path / "new.jsonl", shared).find(found.key, BACKEND) is not None


def test_the_last_shared_figure_wins_and_half_a_line_is_passed_over(tmp_path, shared, small):
    service = MeasurementService(LAX, tmp_path / "service")
    found = replace(from_dict(service.set_reference(TARGET, small, EXAMPLE)), contended=False, converged=True)
    for latency in (1.0, 2.0):
        KnownFigures(tmp_path / f"{latency}.jsonl", shared).learn(replace(found, latency_ms=latency))
    (file,) = shared.glob("*")
    file.write_text(file.read_text() + json.dumps(to_dict(found))[:40])
    latest = KnownFigures(tmp_path / "new.jsonl", shared).find(found.key, BACKEND)
    assert latest is not None
    assert latest.latency_ms == 2.0
