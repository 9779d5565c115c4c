"""ONNX Runtime computes what torch computes."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from small_net import small_net

from raysearch import backends
from raysearch.backends.base import MeasurementError

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
    monkeypatch.setattr("raysearch.backends.runtimes.onnxruntime.find_spec", lambda name: None)
    assert BACKEND.unavailable() == "onnxruntime is not installed: pip install onnxruntime"


def test_weights_of_its_bits_are_summed_exactly_at_the_largest_integers():
    weight = 2 ** (BACKEND.weight_bits() - 1) - 1
    assert product_of(255, weight) == 64 * 255 * weight
    exact_in_eight = product_of(255, 127) == 64 * 255 * 127
    assert BACKEND.weight_bits() == (8 if exact_in_eight else 7)


def product_of(value, weight):
    """The sum of 64 products of unsigned and signed integers, as ONNX Runtime computes it here."""
    weights = numpy_helper.from_array(np.full((64, 8), weight, np.int8), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 8])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.full((1, 64), value, np.uint8)})[0][0, 0]
