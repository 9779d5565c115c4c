"""OpenVINO computes what torch computes, in integers too."""

import numpy as np
import pytest
import torch
from small_net import small_net

from raysearch import backends
from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.openvino import _sums_overflow

BACKEND = backends.get("openvino-cpu")
pytestmark = pytest.mark.skipif(BACKEND.unavailable() is not None, reason=str(BACKEND.unavailable()))


def test_logits_equal_torch(export, images):
    with torch.inference_mode():
        expected = small_net()(torch.from_numpy(images)).numpy()
    (logits,) = BACKEND.load(export())({"input": images})
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_with_one_thread_all_runs_in_the_calling_one(export, images):
    """Else its CPU clock would say nothing of the model's time."""
    import time

    run = BACKEND.load(export(16)).runner({"input": images})
    run()
    cpu, wall = time.thread_time_ns(), time.process_time_ns()
    for _ in range(300):
        run()
    cpu, wall = time.thread_time_ns() - cpu, time.process_time_ns() - wall
    assert cpu > 0.8 * wall


def test_outputs_are_the_callers_own(export, images):
    model = BACKEND.load(export())
    (first,) = model({"input": images[:2]})
    kept = first.copy()
    model({"input": images[2:4]})
    np.testing.assert_array_equal(first, kept)


def test_half_precision_is_nearly_the_same(export, images):
    half = backends.get({"name": "half", "runtime": "openvino-cpu", "dtype": "bf16"})
    (exact,), (near,) = (b.load(export())({"input": images}) for b in (BACKEND, half))
    np.testing.assert_allclose(near, exact, atol=0.05 * np.abs(exact).max())


def test_a_file_it_cannot_read_is_named(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match=r"openvino-cpu cannot load broken\.onnx: Unable to read"):
        BACKEND.load(path)


def test_a_device_that_is_not_there_is_said():
    for name in ("openvino-gpu", "openvino-npu"):
        reason = backends.get(name).unavailable()
        assert reason is None or f"finds no {name[-3:].upper()} here" in reason


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("raysearch.backends.runtimes.openvino.find_spec", lambda name: None)
    assert BACKEND.unavailable() == 'openvino is not installed: pip install "raysearch[openvino]"'


def test_weights_of_its_bits_are_summed_exactly():
    assert BACKEND.weight_bits() == (7 if _sums_overflow() else 8)


@pytest.mark.parametrize("n", [1, 8])
def test_a_runner_keeps_its_inputs(export, images, n):
    """OpenVINO holds their memory alone; freed, it would be another array's by now."""
    run = BACKEND.load(export()).runner({"input": images[:n]})
    others = [np.full((n, 1, 8, 8), 9.0, np.float32) for _ in range(200)]
    results = run()
    (logits,) = results.values()
    with torch.inference_mode():
        expected = small_net()(torch.from_numpy(images[:n])).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert len(others) == 200
