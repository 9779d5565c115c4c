"""ONNX Runtime's static quantisation: close to the float model, and in integers."""

import numpy as np
import onnx
import pytest

from raysearch import backends
from raysearch.backends.base import MeasurementError
from raysearch.backends.static_int8 import static_int8
from raysearch.backends.structure import weights_mb


def test_it_is_close_to_the_float_model(export, images, tmp_path):
    out = tmp_path / "int8.onnx"
    backend = backends.get("onnxruntime-cpu")
    batches = [{"input": images[:32]}, {"input": images[32:]}]
    static_int8(export(16), batches, out, weight_bits=backend.weight_bits())
    (exact,), (quantised,) = (backend.load(path)({"input": images}) for path in (export(16), out))
    assert np.abs(exact - quantised).max() < 0.05 * np.ptp(exact)
    assert 0.25 < weights_mb(out) / weights_mb(export(16)) < 0.3  # biases stay in 32 bits
    # Activations are unsigned, weights signed with zero point 0.
    types = {tensor.data_type for tensor in onnx.load(str(out)).graph.initializer}
    assert {onnx.TensorProto.UINT8, onnx.TensorProto.INT8} <= types


def test_no_calibration_is_refused(export, tmp_path):
    with pytest.raises(ValueError, match="no batch"):
        static_int8(export(), [], tmp_path / "int8.onnx")


def test_a_wrong_batch_is_reported(export, tmp_path):
    with pytest.raises(MeasurementError, match=r"cannot quantise net-8-0\.onnx"):
        static_int8(export(), [{"input": np.zeros((1, 3, 8, 8), np.float32)}], tmp_path / "int8.onnx")
