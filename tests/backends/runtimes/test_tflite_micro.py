"""The memory that a microcontroller needs, and what it computes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.ethos_u import EthosU
from raysearch.backends.runtimes.tflite_micro import TfliteMicro, arena_figures

pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")


def loads(path, arena):
    """In a process of its own: an arena that is too small may end it."""
    code = (
        "import sys; from tflite_micro import runtime;"
        "runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(path), str(arena)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_arena_is_the_smallest_that_loads(export):
    path = export(8, suffix=".tflite")
    values, notes = arena_figures(path)
    arena = round(values["peak_memory_mb"] * 1e6)
    assert loads(path, arena)
    assert not loads(path, arena - 64)
    assert values["flash_mb"] == path.stat().st_size / 1e6
    assert "not counted" in notes[0]


def test_a_larger_network_takes_more(export):
    small, large = (arena_figures(export(width, suffix=".tflite"))[0] for width in (8, 32))
    assert all(large[name] > small[name] for name in small)


def test_it_gives_the_integers_of_the_reference_kernels(export, images, written):
    for path, given in (
        (export(8, suffix=".tflite"), images),
        (written("resnet").path, written("resnet").inputs(8).numpy()),
    ):
        (micro,), (reference,) = (
            backend.load(path)({"input": given})
            for backend in (TfliteMicro(), EthosU(runtime="ethos-u55-128"))
        )
        np.testing.assert_array_equal(micro, reference)


def test_an_operator_without_a_kernel_is_named_with_its_layer(written):
    path = written("token_mean").path
    for ask in (arena_figures, TfliteMicro().load):
        with pytest.raises(MeasurementError, match=r"tflite-micro has no kernel for GELU \(token_mean"):
            ask(path)


def test_its_complaints_are_not_written_out(export, capfd):
    arena_figures(export(8, suffix=".tflite"))
    assert capfd.readouterr().err == ""


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match=r"broken\.tflite"):
        arena_figures(path)
    with pytest.raises(MeasurementError, match=r"tflite-micro cannot load broken\.tflite"):
        TfliteMicro().load(path)


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("raysearch.backends.runtimes.litert.find_spec", lambda name: None)
    wanted = 'tflite_micro is not installed: pip install "raysearch[tflite-micro]"'
    assert TfliteMicro().unavailable() == wanted
