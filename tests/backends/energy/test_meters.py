"""Meters that are files, processes and stand-ins, and that fail in every way."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from metered_machine import Machine

from raysearch import backends
from raysearch.backends.base import MeasurementError
from raysearch.backends.energy import meters
from raysearch.backends.energy.meters import Rapl, opened
from raysearch.backends.energy.power import Counter, Gauge, Idle, energy_of, idle_power


class Tree:
    """The counters of a processor as files, 10 W on each unless said."""

    def __init__(self, folder: Path, **names: str) -> None:
        self.folder, self.span = folder, 1_000_000
        for place, name in names.items():
            domain = folder / place.replace("_", ":").replace("rapl", "intel-rapl")
            domain.mkdir()
            (domain / "name").write_text(f"{name}\n")
            (domain / "max_energy_range_uj").write_text(f"{self.span}\n")
            self.write(domain.name, 0)

    def write(self, domain: str, value: object) -> None:
        (self.folder / domain / "energy_uj").write_text(f"{value}\n")


def test_packages_and_their_memory_add_up_and_nothing_counts_twice(tmp_path):
    tree = Tree(
        tmp_path, rapl_0="package-0", rapl_0_0="core", rapl_0_1="dram", rapl_1="package-1", rapl_2="psys"
    )
    (tmp_path / "intel-rapl-mmio:0").mkdir()
    (tmp_path / "intel-rapl").mkdir()
    meter = Rapl(tmp_path)
    for number, domain in enumerate(
        ["intel-rapl:0", "intel-rapl:1", "intel-rapl:0:1", "intel-rapl:0:0", "intel-rapl:2"]
    ):
        tree.write(domain, 10**number)
    assert meter.joules() == pytest.approx(111e-6)


def test_the_board_is_read_where_there_is_no_package(tmp_path):
    tree = Tree(tmp_path, rapl_0="psys")
    meter = Rapl(tmp_path)
    tree.write("intel-rapl:0", 5)
    assert meter.joules() == pytest.approx(5e-6)


def test_a_counter_that_comes_round_goes_on(tmp_path):
    tree = Tree(tmp_path, rapl_0="package-0", rapl_1="package-1")
    tree.write("intel-rapl:0", 900_000)
    meter = Rapl(tmp_path)
    tree.write("intel-rapl:0", 100_000)
    tree.write("intel-rapl:1", 50_000)
    assert meter.joules() == pytest.approx(0.25)


def test_a_machine_whose_counters_come_round_all_the_time_is_right(tmp_path):
    tree, machine = Tree(tmp_path, rapl_0="package-0", rapl_1="package-1"), Machine(5.0, 25.0, 1.0, 0.001)
    tree.span = 20_000_000
    for domain in ("intel-rapl:0", "intel-rapl:1"):
        (tmp_path / domain / "max_energy_range_uj").write_text(str(tree.span))
    meter = Rapl(tmp_path)

    def read() -> float:
        joules = machine.read()
        for domain, share in (("intel-rapl:0", 0.75), ("intel-rapl:1", 0.25)):
            tree.write(domain, round(joules * share * 1e6) % tree.span)
        return meter.joules()

    assert machine.energy(read).millijoules == pytest.approx(20.0, rel=0.02)
    assert machine.joules > 2 * tree.span / 1e6


def test_counters_that_cannot_be_read_say_why(tmp_path, monkeypatch):
    with pytest.raises(
        MeasurementError, match=r"no RAPL counter stands in .*: this processor or machine has"
    ):
        Rapl(tmp_path)
    tree = Tree(tmp_path, rapl_0="package-0")
    meter = Rapl(tmp_path)
    tree.write("intel-rapl:0", 9)
    meter.joules()
    tree.write("intel-rapl:0", 5)
    with pytest.raises(MeasurementError, match="intel-rapl:0 runs backwards: from 9 to 5 uJ"):
        meter.joules()
    tree.write("intel-rapl:0", "many")
    with pytest.raises(MeasurementError, match=r"energy_uj holds 'many', not a number"):
        Rapl(tmp_path)

    def refuse(self, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(
        MeasurementError, match=r"may not be read: let its owner allow it, with sudo chmod a\+r"
    ):
        Rapl(tmp_path)


class NvmlError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch):
    """NVML's bindings with two GPUs, of which the second has used 2 J."""
    known = {0: 1000, 1: 2000, "GPU-b": 2000}
    fake = SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: known[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


@pytest.mark.parametrize("named", ["1", "GPU-b", "1,0"])
def test_nvml_counts_the_joules_of_the_gpu_that_is_used(nvml, monkeypatch, named):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert opened("nvml").read() == 2.0


def test_nvml_reads_the_gpu_that_a_target_names(nvml, monkeypatch):
    assert [opened("nvml", gpu).read() for gpu in (0, 1)] == [1.0, 2.0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert [opened("nvml", gpu).read() for gpu in (0, 1)] == [2.0, 1.0]
    with pytest.raises(MeasurementError, match="sees 2 GPUs, and not one of index 2"):
        opened("nvml", 2)


def test_what_nvml_refuses_is_said(nvml, monkeypatch):
    target = backends.get({"runtime": "onnxruntime-cpu", "meter": "nvml"})
    assert target.unavailable() == "NVML sees 2 GPUs: name one in CUDA_VISIBLE_DEVICES"
    nvml.nvmlDeviceGetCount = lambda: 1
    assert target.unavailable() is None
    assert opened("nvml").read() == 1.0

    def fail(handle):
        raise NvmlError("Not Supported")

    meter = opened("nvml")
    nvml.nvmlDeviceGetTotalEnergyConsumption = fail
    assert target.unavailable() == "NVML cannot read this GPU's energy: Not Supported"
    with pytest.raises(MeasurementError, match="Not Supported"):
        meter.read()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert target.unavailable() == 'pynvml is not installed: run `pip install "raysearch[nvml]"`'


def shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


def test_a_command_says_joules_or_watts():
    counter, gauge = opened(shell("echo ' 12.5 J '")), opened(shell("echo 3.25W"))
    assert isinstance(counter, Counter)
    assert counter.read() == 12.5
    assert isinstance(gauge, Gauge)
    assert gauge.read() == 3.25


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (shell("echo hot >&2; exit 3"), "the meter sh failed with exit code 3: hot"),
        (shell("exit 3"), "the meter sh failed with exit code 3: it says nothing"),
        (shell("echo 12.5"), r"the meter sh printed '12.5': let it print joules so far \(\"12.5 J\"\)"),
        (shell("true"), "the meter sh printed ''"),
        (shell("echo nan J"), "printed 'nan J'"),
        (shell("echo 1 J; echo 2 J"), "printed '1 J"),
        (("/no/such/meter",), "the meter meter cannot be run: No such file"),
        (shell("sleep 9"), r"the meter sh has printed nothing for 0.3 s"),
    ],
)
def test_a_command_that_is_no_meter_makes_its_target_unavailable(command, message, monkeypatch):
    monkeypatch.setattr(meters, "_PATIENCE_S", 0.3)
    with pytest.raises(MeasurementError, match=message):
        opened(command)
    target = backends.get({"runtime": "torch-cpu", "meter": list(command)})
    assert "the meter" in target.unavailable()


def test_a_command_that_fails_later_ends_the_measurement(tmp_path):
    first = tmp_path / "first"
    meter = opened(shell(f"if [ -e {first} ]; then echo broken; else touch {first}; echo 5 W; fi"))
    with pytest.raises(MeasurementError, match="printed 'broken'"):
        meter.over(lambda: time.sleep(0.001), 0.05)
    first.unlink()
    meter = opened(shell(f"if [ -e {first} ]; then echo 5 J; else touch {first}; echo 5 W; fi"))
    with pytest.raises(MeasurementError, match="shows J now, and W before"):
        meter.over(lambda: time.sleep(0.001), 0.05)


def test_watts_are_read_while_the_model_runs(tmp_path):
    """A real process shows 30 W while a file is there that only inferences make, else 10 W."""
    busy = tmp_path / "busy"
    meter = opened(shell(f"if [ -e {busy} ]; then echo 30 W; else echo 10 W; fi"))
    idle = idle_power(meter)
    assert idle == Idle(10.0, 0.0)

    def infer() -> None:
        busy.touch()
        time.sleep(0.002)

    start = time.perf_counter()
    found = energy_of(infer, meter, idle, lambda: None)
    assert 1.8 < time.perf_counter() - start < 30
    took = found.millijoules / 20  # in milliseconds, at 20 W above rest
    assert 2.0 < took < 6.0


def test_a_meter_is_an_option_of_every_timed_target():
    for runtime in ("onnxruntime-cpu", "torch-cpu", "openvino-cpu", "torch-cuda"):
        plain = backends.get(runtime)
        metered = backends.get({"runtime": runtime, "meter": ["cat", "/my/meter"]})
        assert "energy_mj" not in plain.figures
        assert metered.figures["energy_mj"] == "measured"
        spec = backends.spec_of(metered)
        assert spec == {"runtime": runtime, "name": runtime, "meter": ["cat", "/my/meter"]}
        assert backends.get(spec) == metered
        assert hash(metered) != hash(plain)


@pytest.mark.parametrize("meter", ["watts", "", [], [""], ["cat", 3], 3, True, {"a": 1}])
def test_what_is_no_meter_is_refused(meter):
    with pytest.raises(
        ValueError, match=r"target 'onnxruntime-cpu': meter is .*, give nvml, rapl or a command"
    ):
        backends.get({"runtime": "onnxruntime-cpu", "meter": meter})


@pytest.mark.skipif(
    not os.access("/sys/class/powercap/intel-rapl:0/energy_uj", os.R_OK), reason="no RAPL here"
)
def test_a_real_processor_draws_more_at_work():
    meter = opened("rapl")
    idle = idle_power(meter)
    assert energy_of(lambda: sum(range(100_000)), meter, idle, lambda: None).millijoules > 0
