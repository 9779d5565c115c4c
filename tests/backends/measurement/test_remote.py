"""The measurement service as an actor of Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from raysearch.backends.base import MeasurementError
from raysearch.backends.measurement.devices import start_service
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.remote import RemoteService, connect
from raysearch.backends.measurement.spared import Description

TARGET = "onnxruntime-cpu"
QUICK = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0, settle_ms=0.5, block_ms=0.5)
EXAMPLE = {"input": np.zeros((1, 1, 8, 8), np.float32)}


@pytest.fixture
def start(cluster):
    """Starts services that end with the test."""
    started = []

    def one(protocol: Protocol = QUICK) -> tuple[str, RemoteService]:
        name = f"measurement-{uuid.uuid4().hex}"
        started.append(start_service(name, protocol))
        return name, started[-1]

    yield one
    for service in started:
        with contextlib.suppress(MeasurementError):
            service.stop()


@pytest.mark.cluster
def test_through_ray(start, small, large):
    import ray

    name, service = start()
    reference = service.set_reference(TARGET, small, EXAMPLE)

    @ray.remote(num_cpus=1)
    def trial(model: bytes) -> dict:
        return connect(name).measure(TARGET, model, EXAMPLE)

    assert ray.get(trial.remote(small)) == {**reference, "cached": True}
    measured = ray.get(ray.remote(lambda s: s.measure(TARGET, large, EXAMPLE)).remote(service))
    assert measured["reference"] == reference["structure"]
    service.known([{**measured, "ratio": 7.0}])
    assert service.measure(TARGET, large, EXAMPLE)["ratio"] == 7.0
    assert service.remeasure(TARGET, large, EXAMPLE)["ratio"] != 7.0
    with pytest.raises(ValueError, match="unknown"):
        service.measure("nowhere", small, EXAMPLE)
    with pytest.raises(MeasurementError, match=r"^onnxruntime-cpu cannot run the model: [^\n]*$"):
        service.measure(TARGET, b"rubbish", EXAMPLE)
    with pytest.raises(ValueError):
        start_service(name)
    service.stop()
    with pytest.raises(MeasurementError, match=r"is gone|is closed"):
        service.remeasure(TARGET, small, EXAMPLE)


class Deadly(Protocol):
    """Brings a signal upon the process in its second model, once for each file that orders it."""

    orders: ClassVar[Path]
    signal: ClassVar[int]
    models: ClassVar[int] = 0

    def to_dict(self) -> dict[str, float]:
        type(self).models += 1
        for order in sorted(self.orders.iterdir())[:1] if self.models > 1 else ():
            order.unlink()
            os.kill(os.getpid(), self.signal)
        return super().to_dict()


@pytest.fixture
def deadly(tmp_path):
    """Makes a protocol that kills, and a function that orders it to."""

    def make(number: int) -> tuple[Protocol, Callable[[int], None]]:
        class Ordered(Deadly):
            orders, signal = tmp_path, number

        return Ordered(**QUICK.to_dict()), lambda times: [(tmp_path / str(i)).touch() for i in range(times)]

    return make


@pytest.mark.cluster
def test_a_model_that_crashes_the_process_harms_no_other(start, deadly, small, large, export):
    import ray

    protocol, order = deadly(signal.SIGSEGV)
    name, service = start(protocol)
    reference = service.set_reference(TARGET, small, EXAMPLE)
    order(3)
    measure = ray.remote(lambda model: connect(name).measure(TARGET, model, EXAMPLE)).options(num_cpus=0)
    with pytest.raises(MeasurementError, match="crashed on this model: its process died 3 times"):
        service.measure(TARGET, large, EXAMPLE)
    others = [measure.remote(model) for model in (small, export(32).read_bytes())]
    assert ray.get(others[0]) == {**reference, "cached": True}
    assert ray.get(others[1])["reference_ms"] == reference["reference_ms"]


@pytest.mark.cluster
def test_a_prediction_through_ray_where_no_device_is_left(start, small):
    """What a resumed run has measured with its operators is enough."""
    _, service = start()
    desk = {"name": "desk", "runtime": "onnxruntime-cpu", "resource": "nobody-has-it"}
    how = {"runtime": "onnxruntime", "version": "1", "device": "a desk", "threads": 1, "batch": 1}

    def operators(size: int) -> dict[str, float]:
        return {"Conv 3x3/count": 4.0, "Conv 3x3/macs": 1e6 * size, "Conv 3x3/bytes": 1e4 * size}

    told = [
        {"key": f"k{n}", "target": "desk", "structure": f"s{n}", "latency_ms": 0.5 + 0.1 * n, **how}
        for n in range(1, 31)
    ]
    service.known([{**measured, "operators": operators(n)} for n, measured in enumerate(told, 1)])
    asked = Description("new", operators(20))
    with pytest.raises(MeasurementError, match="no node of the cluster has the resource 'nobody-has-it'"):
        service.measure(desk, small, EXAMPLE, asked)  # it was not allowed
    service.spare(desk, None, [])
    found = service.measure(desk, small, EXAMPLE, asked)
    assert (found["source"], found["target"], found["device"]) == ("predicted", "desk", "a desk")
    assert found["latency_ms"] == pytest.approx(2.5, rel=0.1)
    with pytest.raises(MeasurementError, match="no node"):
        service.measure(desk, small, EXAMPLE, Description("new", operators(20), spare=False))


@pytest.mark.cluster
def test_a_process_that_the_system_kills_costs_no_model_its_figure(start, deadly, small, large):
    protocol, order = deadly(signal.SIGKILL)
    _, service = start(protocol)
    reference = service.set_reference(TARGET, small, EXAMPLE)
    order(4)
    measured = service.measure(TARGET, large, EXAMPLE)
    assert measured["reference"] == reference["structure"]
    assert measured["reference_ms"] == reference["reference_ms"]


@pytest.mark.cluster
def test_who_waits_for_a_front_that_is_killed_gets_its_answer(start, small, large):
    import ray

    name, service = start()
    reference = service.set_reference(TARGET, small, EXAMPLE)
    actor = ray.get_actor(name)

    @ray.remote(num_cpus=0)
    def trial() -> dict:
        return connect(name).remeasure(TARGET, large, EXAMPLE)

    waiting = [trial.remote() for _ in range(4)]
    ray.wait(waiting)
    ray.kill(actor, no_restart=False)
    for measured in ray.get(waiting):
        assert measured["reference_ms"] == reference["reference_ms"]
    assert connect(name).measure(TARGET, small, EXAMPLE) == {**reference, "cached": True}
