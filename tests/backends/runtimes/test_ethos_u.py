"""What Vela predicts, and the integers that an NPU gives."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.ethos_u import EthosU, vela_figures

pytest.importorskip("ethosu", reason="ethos-u-vela is not installed")


@pytest.fixture(scope="module")
def figures(export):
    """Of the small net, by accelerator."""
    names = ("ethos-u55-128", "ethos-u55-256", "ethos-u65-512", "ethos-u85-512")
    return {name: vela_figures(export(8, suffix=".tflite"), name) for name in names}


def test_every_accelerator_runs_all_of_it(figures):
    for values, notes in figures.values():
        assert values.keys() == {"latency_ms", "peak_memory_mb", "flash_mb"}
        assert 0 < values["latency_ms"] < 1
        assert 0 < values["peak_memory_mb"] < 0.1
        (system,) = notes  # nothing stays on the CPU
        assert system.startswith("predicted by Vela for Ethos_U")


def test_a_larger_network_takes_more(export, figures):
    values, _ = vela_figures(export(32, suffix=".tflite"), "ethos-u55-128")
    small, _ = figures["ethos-u55-128"]
    assert all(values[name] > small[name] for name in values)


def test_what_stays_on_the_cpu_is_named_with_its_layer(written):
    _, notes = vela_figures(written("squeeze_excitation").path, "ethos-u55-256")
    assert notes[1].startswith("on the CPU, not in latency_ms: ")
    assert "ADD, MUL, QUANTIZE (scale.4)" in notes[1]


def test_a_network_that_runs_nowhere_on_it_is_refused(written):
    with pytest.raises(MeasurementError, match=r"ethos-u55-256 runs no operator of .*: FULLY_CONNECTED"):
        vela_figures(written("linear", 32, 32).path, "ethos-u55-256")


def test_other_files_and_accelerators_are_refused(export, tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match=r"broken\.tflite is no \.tflite file"):
        vela_figures(path, "ethos-u55-256")
    with pytest.raises(MeasurementError, match=r"Vela cannot compile net-8-0\.tflite for ethos-u99"):
        vela_figures(export(8, suffix=".tflite"), "ethos-u99")


def test_outputs_are_near_those_of_the_cpu(export, images):
    from raysearch.backends.runtimes.litert import LiteRtCpu

    path = export(8, suffix=".tflite")
    (npu,), (cpu,) = (b.load(path)({"input": images}) for b in (EthosU(runtime="ethos-u55-256"), LiteRtCpu()))
    assert np.abs(npu - cpu).max() < 0.03 * np.abs(cpu).max()


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("raysearch.backends.runtimes.litert.find_spec", lambda name: None)
    wanted = 'ethosu is not installed: pip install "raysearch[ethos-u]"'
    assert EthosU(runtime="ethos-u55-256").unavailable() == wanted
