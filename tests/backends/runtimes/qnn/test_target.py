"""Qualcomm's emulation of its NPU computes what ONNX Runtime does, or says what it lacks."""

import numpy as np
import pytest
import zoo

from raysearch import backends
from raysearch.backends.base import TIMED, MeasurementError
from raysearch.backends.runtimes.qnn import target
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.export.files import export_onnx
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers

BACKEND = backends.get("qnn-htp")
MISSING = BACKEND.unavailable()
installed = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


def write(folder, kind, bits=8):
    """The file of a network, and a batch of its inputs."""
    inputs = zoo.NETWORKS[kind].inputs(3)
    module = fold_batch_norm(zoo.captured(kind))
    if bits == 8:
        module = insert_quantizers(module, zoo.uniform(module, 8, 8), ())
        calibrate(module, [inputs])
    path = folder / f"{kind}{bits}.onnx"
    export_onnx(module, path)
    return path, feed_of(inputs)


@installed
@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize(
    "kind",
    ["resnet", "inverted_residuals", "masked_encoder", "lstm", "text", "dict_output", "raw_images", "u_net"],
)
def test_it_computes_what_onnxruntime_does(kind, bits, tmp_path):
    path, feed = write(tmp_path, kind, bits)
    expected = backends.get("onnxruntime-cpu").load(path)(feed)
    found = BACKEND.load(path)(feed)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 0.01 * np.ptp(other)


@installed
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("group_norm", r"GroupNormalization \(layer '1'\)"),
        ("segmentation", r"ConvTranspose \(layer '6'\)"),
        ("conv3d", r"MaxPool \('max_pool3d'\)"),
    ],
)
def test_an_operator_that_the_npu_refuses_is_named_with_its_layer(kind, what, tmp_path):
    path, _ = write(tmp_path, kind)
    with pytest.raises(
        MeasurementError, match=rf"^qnn-htp cannot run {kind}8\.onnx: the NPU refuses {what}$"
    ):
        BACKEND.load(path)


@installed
def test_any_number_of_inputs_goes_in_batches_of_the_targets_size(tmp_path):
    path, _ = write(tmp_path, "resnet")
    feed = feed_of(zoo.IMAGES(5))
    (alone,) = BACKEND.load(path)(feed)
    pairs = backends.get({"name": "pairs", "runtime": "qnn-htp", "batch": 2}).load(path)
    assert len(alone) == 5
    np.testing.assert_allclose(pairs(feed)[0], alone, atol=1e-3)


@installed
def test_a_runner_repeats_one_batch(tmp_path):
    path, feed = write(tmp_path, "resnet")
    run = BACKEND.load(path).runner({name: array[:1] for name, array in feed.items()})
    assert run() is run()


@installed
def test_a_file_it_cannot_read_is_named(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match=r"qnn-htp cannot load broken\.onnx: "):
        BACKEND.load(path)


def test_the_emulation_says_nothing_of_time_and_a_device_does(monkeypatch):
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    assert dict(BACKEND.figures) == {"peak_memory_mb": "static"}
    monkeypatch.setattr(target.platform, "machine", lambda: "aarch64")
    assert BACKEND.figures == TIMED


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(target, "find_spec", lambda name: None)
    assert BACKEND.unavailable() == 'onnxruntime-qnn is not installed: pip install "raysearch[qnn]"'


def test_an_error_about_a_node_is_read():
    text = "Node '4.2/linear' OpType:Gemm with domain: was not selected"
    assert target._culprit(text) == "Gemm (layer '4.2')"
    assert target._culprit("no luck") is None
