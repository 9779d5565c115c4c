"""LiteRT computes what torch computes, to the steps of its integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from litert_files import integers
from small_net import small_net

from raysearch import backends
from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.litert import LiteRtCpu, Port

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
BACKEND = backends.get("litert-cpu")


@pytest.mark.parametrize("optimize", [True, False])
def test_logits_equal_torch_to_a_few_steps(export, images, optimize):
    with torch.inference_mode():
        expected = integers(small_net())(torch.from_numpy(images)).numpy()
    (logits,) = BACKEND.load(export(suffix=".tflite"), optimize=optimize)({"input": images})
    assert logits.dtype == np.float32
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < 0.03 * np.abs(expected).max()


def test_runner_takes_the_files_batch_and_leaves_it_alone(export, images):
    model = BACKEND.load(export(suffix=".tflite"))
    kept = images.copy()
    run = model.runner({"input": images[:1]})
    run()
    run()
    np.testing.assert_array_equal(images, kept)
    with pytest.raises(MeasurementError, match="takes 1 inputs at once, not 2: its batch has one size"):
        model.runner({"input": images[:2]})


def test_more_threads_compute_the_same(export, images):
    path = export(suffix=".tflite")
    one, two = (LiteRtCpu(threads=threads).load(path)({"input": images})[0] for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_inputs_of_other_names_and_shapes_are_refused(export, images):
    model = BACKEND.load(export(suffix=".tflite"))
    with pytest.raises(MeasurementError, match="takes input, not x"):
        model({"x": images})
    with pytest.raises(MeasurementError, match=r"input of shape \(1, 1, 8, 8\) alone, not of \(1, 1, 8, 7\)"):
        model({"input": images[:, :, :, :7]})


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_a_file_it_cannot_read_is_named(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(MeasurementError, match=r"litert-cpu cannot load broken\.tflite"):
        BACKEND.load(path)


def test_loading_writes_nothing_to_standard_error(export, capfd):
    BACKEND.load(export(suffix=".tflite"))
    assert capfd.readouterr().err == ""


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("raysearch.backends.runtimes.litert.find_spec", lambda name: None)
    assert BACKEND.unavailable() == 'ai_edge_litert is not installed: pip install "raysearch[litert]"'


def test_a_port_rounds_half_to_even_and_keeps_to_its_range():
    port = Port(0, (1,), np.dtype(np.int8), 0.5, -128)
    values = np.array([0.0, 0.25, 0.75, 1.0, 500.0, -3.0], np.float32)
    np.testing.assert_array_equal(port.codes(values), [-128, -128, -126, -126, 127, -128])
    np.testing.assert_array_equal(port.values(np.array([-128, -126], np.int8)), [0.0, 1.0])
    plain = Port(0, (1,), np.dtype(np.int32), 0.0, 0)
    assert plain.codes(np.array([3], np.int64)).dtype == np.int32
