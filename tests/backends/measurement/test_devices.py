"""Requests find free devices, in turn; a lost device's request goes to another one, or waits, or fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from raysearch.backends.base import MeasurementError
from raysearch.backends.measurement import devices as module
from raysearch.backends.measurement.devices import Devices
from raysearch.backends.measurement.spared import Description

SPEC = {"name": "desk", "runtime": "onnxruntime-cpu", "resource": "jetson"}
EXAMPLE = {"input": np.zeros((1, 2), np.float32)}


class Cluster:
    """Nodes with jetsons, and processes that note what they are asked."""

    def __init__(self, **units: int) -> None:
        self.units = {"home": 0, **units}
        self.processes: dict[tuple[str, int], Process] = {}
        self.most = 0

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": name, "Alive": True, "Resources": {"CPU": 1.0, "jetson": float(count)}}
            for name, count in self.units.items()
        ]

    def start(self, where: tuple[str, int], place: Any) -> Process:
        self.processes[where] = Process(self, where)
        return self.processes[where]

    @property
    def measured(self) -> dict[tuple[str, int], list[bytes]]:
        return {
            where: [given[1] for name, given in process.calls if name == "measure"]
            for where, process in self.processes.items()
        }


class Process:
    """A device's actor; a measurement takes .02 s."""

    def __init__(self, cluster: Cluster, where: tuple[str, int]) -> None:
        self.cluster, self.where = cluster, where
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.busy = 0
        self.fails: BaseException | None = None
        self.dies_on: bytes | None = None
        self.crashed = ""

    def __getattr__(self, name: str) -> Any:
        async def remote(*given: Any) -> Any:
            self.calls.append((name, given))
            if self.fails is not None:
                raise self.fails
            if name == "crash_before":
                return self.crashed
            if self.dies_on is not None and self.dies_on in given:
                raise ActorDiedError
            self.busy += 1
            self.cluster.most = max(self.cluster.most, self.busy)
            if name in ("measure", "set_reference"):
                await asyncio.sleep(0.02)
            self.busy -= 1
            if self.where[0] not in self.cluster.units:
                raise ActorDiedError
            return {"key": str(given[1]), "target": "desk"} if len(given) > 1 else None

        return type("Method", (), {"remote": staticmethod(remote)})


@pytest.fixture
def with_devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    monkeypatch.setattr(module, "_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.01)

    def call(cluster: Cluster, body: Callable[[Devices], Any]) -> Any:
        return asyncio.run(body(Devices("home", cluster.start, cluster.nodes)))

    return call


def test_each_device_has_one_model_at_a_time_and_none_is_idle(with_devices: Any) -> None:
    cluster = Cluster(a=1, b=1)

    async def body(devices: Devices) -> float:
        await devices.measure(SPEC, b"parent", EXAMPLE)
        start = asyncio.get_running_loop().time()
        await asyncio.gather(*(devices.measure(SPEC, bytes([i]), EXAMPLE) for i in range(100)))
        return asyncio.get_running_loop().time() - start

    seconds = with_devices(cluster, body)
    assert cluster.most == 1
    counts = [len(models) for models in cluster.measured.values()]
    assert sum(counts) == 101
    assert min(counts) >= 45
    assert seconds < 2.0  # 50 x .02 s on each of two devices, with something for a busy machine


def test_requests_are_served_in_the_order_in_which_they_came(with_devices: Any) -> None:
    cluster = Cluster(a=1)

    async def body(devices: Devices) -> None:
        await asyncio.gather(*(devices.measure(SPEC, bytes([i]), EXAMPLE) for i in range(20)))

    with_devices(cluster, body)
    assert cluster.measured["a", 0] == [bytes([i]) for i in range(20)]


def test_every_device_is_given_the_reference_once_and_what_the_first_one_found(with_devices: Any) -> None:
    cluster = Cluster(a=1, b=1)

    async def body(devices: Devices) -> None:
        await devices.set_reference(SPEC, b"parent", EXAMPLE)
        await asyncio.gather(*(devices.measure(SPEC, bytes([i]), EXAMPLE) for i in range(8)))

    with_devices(cluster, body)
    for process in cluster.processes.values():
        names = [name for name, _ in process.calls]
        assert names.count("set_reference") == 1
        assert names.index("set_reference") < names.index("measure")
    (later,) = [p for p in cluster.processes.values() if p.calls[0][1][0]]
    assert next(iter(later.calls[0][1][0]))["key"] == str(b"parent")


def test_a_lost_devices_request_goes_to_another_one(with_devices: Any) -> None:
    cluster = Cluster(a=1, b=1)

    async def body(devices: Devices) -> list[dict[str, Any]]:
        await devices.measure(SPEC, b"parent", EXAMPLE)
        requests = [asyncio.create_task(devices.measure(SPEC, bytes([i]), EXAMPLE)) for i in range(10)]
        await asyncio.sleep(0.03)
        del cluster.units["a"]
        return await asyncio.gather(*requests)

    assert len(with_devices(cluster, body)) == 10
    assert len(cluster.measured["b", 0]) >= 8


def test_without_a_device_a_request_fails_with_what_is_missing(with_devices: Any) -> None:
    cluster = Cluster(a=1)

    async def body(devices: Devices) -> None:
        await devices.measure(SPEC, b"parent", EXAMPLE)
        del cluster.units["a"]
        await devices.measure(SPEC, b"model", EXAMPLE)

    with pytest.raises(MeasurementError, match=r"target 'desk': no node .* has the resource 'jetson'"):
        with_devices(cluster, body)


def test_a_request_waits_for_a_device_as_long_as_the_study_says(with_devices: Any) -> None:
    cluster = Cluster(a=1)
    patient = {**SPEC, "wait_minutes": 1.0}

    async def body(devices: Devices) -> None:
        await devices.measure(patient, b"parent", EXAMPLE)
        del cluster.units["a"]
        request = asyncio.create_task(devices.measure(patient, b"model", EXAMPLE))
        await asyncio.sleep(0.1)
        assert not request.done()
        cluster.units["late"] = 1
        await request

    with_devices(cluster, body)
    assert cluster.measured["late", 0] == [b"model"]


def test_a_wait_ends_when_its_time_is_over(with_devices: Any) -> None:
    async def body(devices: Devices) -> None:
        await devices.measure({**SPEC, "wait_minutes": 0.001}, b"model", EXAMPLE)

    with pytest.raises(MeasurementError, match=r"\(waited 0.001 minutes\)"):
        with_devices(Cluster(), body)


def test_a_target_without_a_place_is_measured_at_home(with_devices: Any) -> None:
    cluster = Cluster(a=1)

    async def body(devices: Devices) -> None:
        await devices.measure("onnxruntime-cpu", b"model", EXAMPLE)

    with_devices(cluster, body)
    assert list(cluster.processes) == [("home", 0)]


def test_what_is_the_same_to_the_last_bit_needs_no_device(with_devices: Any) -> None:
    cluster = Cluster(a=1)

    async def body(devices: Devices) -> list[bool]:
        found = [await devices.measure(SPEC, b"model", EXAMPLE) for _ in range(3)]
        await devices.set_reference(SPEC, b"other", EXAMPLE)
        found.append(await devices.measure(SPEC, b"model", EXAMPLE))
        return [measured.get("cached", False) for measured in found]

    assert with_devices(cluster, body) == [False, True, True, False]


def test_what_is_known_of_a_resumed_run_reaches_the_first_device(with_devices: Any) -> None:
    cluster = Cluster(a=1)

    async def body(devices: Devices) -> None:
        await devices.known([{"key": "parents", "target": "desk"}])
        await devices.set_reference(SPEC, b"parent", EXAMPLE)

    with_devices(cluster, body)
    names = [name for name, _ in cluster.processes["a", 0].calls]
    assert names == ["known", "set_reference"]
    assert cluster.processes["a", 0].calls[0][1][0][0]["key"] == "parents"


def test_a_device_is_there_for_the_next_whatever_goes_wrong(with_devices: Any) -> None:
    cluster = Cluster(a=1)

    async def body(devices: Devices) -> None:
        await devices.measure(SPEC, b"parent", EXAMPLE)
        process = cluster.processes["a", 0]
        process.fails = RuntimeError("the object store is full")
        with pytest.raises(RuntimeError, match="is full"):
            await devices.measure(SPEC, b"model", EXAMPLE)
        process.fails = None
        await asyncio.wait_for(devices.measure(SPEC, b"model", EXAMPLE), 5)

    with_devices(cluster, body)


def test_targets_of_one_resource_share_its_devices_however_long_they_wait(with_devices: Any) -> None:
    cluster = Cluster(a=1)

    async def body(devices: Devices) -> None:
        await devices.measure(SPEC, b"model", EXAMPLE)
        await devices.measure({**SPEC, "name": "other", "wait_minutes": 3.0}, b"model", EXAMPLE)

    with_devices(cluster, body)
    assert list(cluster.processes) == [("a", 0)]


def test_a_first_model_that_cannot_run_is_nobodys_reference(with_devices: Any) -> None:
    cluster = Cluster(a=1)

    async def body(devices: Devices) -> None:
        process = cluster.start(("a", 0), None)
        cluster.start = lambda where, place: process  # type: ignore[method-assign]
        devices._start = cluster.start
        process.fails = RayTaskError("measure", "", MeasurementError("it cannot run"))
        with pytest.raises(MeasurementError, match="it cannot run"):
            await devices.measure(SPEC, b"broken", EXAMPLE)
        process.fails = None
        await devices.measure(SPEC, b"model", EXAMPLE)
        references = [given[1] for name, given in process.calls if name == "set_reference"]
        assert references[-1] == b"model"

    with_devices(cluster, body)


# -- what need not be measured -----------------------------------------------------------------------


class Timed(Process):
    """A device on which a model of n bytes takes .5 + .1 n ms."""

    def __getattr__(self, name: str) -> Any:
        asked = super().__getattr__(name).remote

        async def remote(*given: Any) -> Any:
            answer = await asked(*given)
            if name not in ("measure", "set_reference", "remeasure"):
                return answer
            size = len(given[1])
            known = {"structure": f"s{size}", "latency_ms": 0.5 + 0.1 * size, "cached": False, "batch": 1}
            known |= {"key": str(given[1]), "target": "desk"}
            return {**known, "runtime": "ort", "version": "1", "device": "jetson", "threads": 1}

        return type("Method", (), {"remote": staticmethod(remote)})


class TimedCluster(Cluster):
    def start(self, where: tuple[str, int], place: Any) -> Process:
        self.processes[where] = Timed(self, where)
        return self.processes[where]


def described(size: int, *, spare: bool = True) -> Description:
    counts = {"Conv 3x3/count": 4.0, "Conv 3x3/macs": 1e6 * size, "Conv 3x3/bytes": 1e4 * size}
    return Description(f"s{size}", counts, spare)


def measured(devices: Devices, size: int, **options: bool) -> Any:
    return devices.measure(SPEC, bytes(size), EXAMPLE, described(size, **options))


def test_where_a_device_is_slow_or_busy_what_is_sure_is_predicted(
    with_devices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = TimedCluster(a=1)

    async def body(devices: Devices) -> None:
        await devices.set_reference(SPEC, bytes(40), EXAMPLE, described(40))
        for size in range(1, 25):
            assert "source" not in await measured(devices, size)
        assert "source" not in await measured(devices, 25)  # it is not allowed
        await devices.spare(SPEC, None, [])
        assert "source" not in await measured(devices, 26)  # a measurement takes no time
        monkeypatch.setattr(module, "WORTH_S", 0.05)  # .02 s of its own is still worth it
        assert "source" not in await measured(devices, 27)
        waiting = [asyncio.create_task(measured(devices, size, spare=False)) for size in range(28, 32)]
        await asyncio.sleep(0)
        found = await measured(devices, 32)
        assert found["source"] == "predicted"
        assert found["latency_ms"] == pytest.approx(3.7, rel=0.05)
        known = await measured(devices, 12)  # what was measured already is not predicted
        assert "source" not in known
        for each in await asyncio.gather(*waiting):
            assert "source" not in each
        assert "source" not in await devices.remeasure(SPEC, bytes(32), EXAMPLE)

    with_devices(cluster, body)
    assert bytes(32) not in cluster.measured["a", 0]
    assert [name for name, _ in cluster.processes["a", 0].calls][-1] == "remeasure"


def test_with_no_device_left_what_is_sure_is_predicted_and_the_rest_waits(with_devices: Any) -> None:
    cluster = TimedCluster(a=1)

    async def body(devices: Devices) -> None:
        for size in range(1, 25):
            await measured(devices, size)
        await devices.spare(SPEC, None, [3.4])
        del cluster.units["a"]
        await asyncio.sleep(0.02)
        assert (await measured(devices, 35))["source"] == "predicted"
        with pytest.raises(MeasurementError, match="no node"):
            await measured(devices, 29)  # a constraint decides on it

    with_devices(cluster, body)


def test_a_front_that_was_killed_still_knows_what_need_not_be_measured(
    with_devices: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = TimedCluster(a=1)

    async def body(devices: Devices) -> None:
        for size in range(1, 25):
            devices = Devices("home", cluster.start, cluster.nodes, tmp_path)
            assert "operators" not in await measured(devices, size)
        await devices.spare(SPEC, None, [3.4])
        with (tmp_path / "spared.jsonl").open("a") as file:
            file.write('{"target": ')  # it was killed as it wrote
        again = Devices("home", cluster.start, cluster.nodes, tmp_path)
        monkeypatch.setattr(again, "_takes_long", lambda backend: True)
        assert (await measured(again, 35))["source"] == "predicted"
        assert "source" not in await measured(again, 29)  # a constraint decides on it

    with_devices(cluster, body)


class Deadly(Cluster):
    """Every process dies of one model; what it died of the next one knows."""

    def __init__(self, model: bytes, words: str, times: int = 1000) -> None:
        super().__init__(a=1)
        self.model, self.words, self.left, self.started = model, words, times, 0

    def start(self, where: tuple[str, int], place: Any) -> Process:
        process = super().start(where, place)
        process.crashed = self.words if self.started else ""
        self.started += 1
        if self.left:
            process.dies_on, self.left = self.model, self.left - 1
        return process


def test_a_model_is_tried_twice_again_before_it_is_blamed_for_a_crash(with_devices: Any) -> None:
    cluster = Deadly(b"deadly", "Segmentation fault")

    async def body(devices: Devices) -> None:
        await devices.measure(SPEC, b"parent", EXAMPLE)
        for _ in range(2):
            with pytest.raises(MeasurementError, match=r"desk crashed on this model: .* died 3 times"):
                await devices.measure(SPEC, b"deadly", EXAMPLE)
        await devices.measure(SPEC, b"model", EXAMPLE)

    with_devices(cluster, body)
    assert cluster.started == 4


def test_a_model_that_crashed_twice_may_run_the_third_time(with_devices: Any) -> None:
    cluster = Deadly(b"deadly", "Segmentation fault", times=2)

    async def body(devices: Devices) -> dict[str, Any]:
        await devices.measure(SPEC, b"parent", EXAMPLE)
        return await devices.measure(SPEC, b"deadly", EXAMPLE)

    assert with_devices(cluster, body)["key"] == "b'deadly'"


@pytest.mark.parametrize(("kills", "survives"), [(10, True), (1000, False)])
def test_nobody_is_blamed_for_processes_that_the_system_kills(
    with_devices: Any, kills: int, survives: bool
) -> None:
    cluster = Deadly(b"model", "", times=kills)

    async def body(devices: Devices) -> None:
        await devices.measure(SPEC, b"parent", EXAMPLE)
        await devices.measure(SPEC, b"model", EXAMPLE)

    if survives:
        with_devices(cluster, body)
    else:
        with pytest.raises(MeasurementError, match="was killed 20 times in a row, as the system does"):
            with_devices(cluster, body)


def test_a_new_process_is_given_the_reference_before_its_model(with_devices: Any) -> None:
    cluster = Deadly(b"model", "", times=1)

    async def body(devices: Devices) -> None:
        await devices.set_reference(SPEC, b"parent", EXAMPLE)
        await devices.measure(SPEC, b"model", EXAMPLE)

    with_devices(cluster, body)
    asked = [(name, given[1]) for name, given in cluster.processes["a", 0].calls if len(given) > 1]
    assert asked == [("set_reference", b"parent"), ("measure", b"model")]


def test_a_reference_that_crashes_is_said_to_all_and_another_one_may_come(with_devices: Any) -> None:
    cluster = Deadly(b"parent", "Aborted")
    cluster.left = 0

    async def body(devices: Devices) -> None:
        await devices.set_reference(SPEC, b"parent", EXAMPLE)
        cluster.left = 1000
        cluster.processes["a", 0].fails = ActorDiedError()
        for _ in range(2):
            with pytest.raises(MeasurementError, match="desk crashed on its reference"):
                await devices.measure(SPEC, b"model", EXAMPLE)
        await devices.set_reference(SPEC, b"other", EXAMPLE)
        await devices.measure(SPEC, b"model", EXAMPLE)

    with_devices(cluster, body)


def test_a_resumed_run_learns_from_what_took_long(with_devices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = TimedCluster(a=1)

    async def first(devices: Devices) -> list[dict[str, Any]]:
        quick = await measured(devices, 30)
        assert "operators" not in quick
        monkeypatch.setattr(module, "WORTH_S", 0.01)
        return [quick, *[await measured(devices, size) for size in range(1, 25)]]

    kept = with_devices(cluster, first)
    assert all(each["operators"]["Conv 3x3/count"] == 4.0 for each in kept[1:])

    async def resumed(devices: Devices) -> dict[str, Any]:
        prediction = {"target": "desk", "latency_ms": 1.0, "interval": [0.9, 1.1], "source": "predicted"}
        await devices.known([*kept, prediction])
        await devices.spare(SPEC, None, [])
        await measured(devices, 31)
        return await measured(devices, 35)

    cluster = TimedCluster(a=1)
    found = with_devices(cluster, resumed)
    assert found["source"] == "predicted"
    assert found["models"] == 25
    (told,) = [given[0] for name, given in cluster.processes["a", 0].calls if name == "known"]
    assert all("operators" not in each for each in told)


def test_a_front_that_is_started_anew_knows_references_and_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    async def first() -> None:
        devices = Devices("home", cluster.start, cluster.nodes, tmp_path / "front")
        await devices.known([{"key": "of before", "target": "desk"}])
        await devices.set_reference(SPEC, b"parent", EXAMPLE)
        await devices.measure(SPEC, b"model", EXAMPLE)

    async def second() -> None:
        devices = Devices("home", cluster.start, cluster.nodes, tmp_path / "front")
        await devices.remeasure(SPEC, b"other", EXAMPLE)
        await devices.close()

    cluster = Cluster(a=1)
    asyncio.run(first())
    with (tmp_path / "front" / "known.jsonl").open("a") as file:
        file.write('{"key": "ha')  # it died in this line
    cluster = Cluster(a=1)
    asyncio.run(second())
    calls = cluster.processes["a", 0].calls
    assert [name for name, _ in calls] == ["known", "set_reference", "remeasure", "close"]
    assert [figure["key"] for figure in calls[0][1][0]] == ["of before", "b'parent'", "b'model'"]
    assert calls[1][1][1] == b"parent"
    assert calls[1][1][2]["input"].shape == (1, 2)
    assert not (tmp_path / "front").exists()
