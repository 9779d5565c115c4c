"""ONNX Runtime computes what torch computes."""

import numpy as np
import pytest
import torch

from raysearch import backends
from raysearch.backends.base import MeasurementError

from .conftest import small_net

BACKEND = backends.get("onnxruntime-cpu")


@pytest.mark.parametrize("optimize", [True, False])
def test_logits_equal_torch(export, images, optimize):
    with torch.inference_mode():
        expected = small_net()(torch.from_numpy(images)).numpy()
    (logits,) = BACKEND.load(export(), optimize=optimize)({"input": images})
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_runner_takes_any_batch_and_leaves_it_alone(export, images):
    model = BACKEND.load(export())
    kept = images.copy()
    for n in (1, 7):
        run = model.runner({"input": images[:n]})
        run()
        run()
    np.testing.assert_array_equal(images, kept)


def test_a_file_it_cannot_read_is_named(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match=r"onnxruntime-cpu cannot load broken\.onnx"):
        BACKEND.load(path)


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("raysearch.backends.onnxruntime.find_spec", lambda name: None)
    assert BACKEND.unavailable() == "onnxruntime is not installed: pip install onnxruntime"
