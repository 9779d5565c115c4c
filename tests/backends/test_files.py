"""Anybody's model file is measured with inputs that it says, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from raysearch.backends import files
from raysearch.backends.files import measure_file
from raysearch.backends.inputs import example_of
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.service import MeasurementService

QUICK = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0, settle_ms=0.5, block_ms=0.5)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(files, "MeasurementService", lambda: MeasurementService(QUICK))


def tokens(folder: Path) -> Path:
    """A model of two inputs: indices of open length, and floats."""
    table = numpy_helper.from_array(np.ones((5, 4), np.float32), "table")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "words"], ["g"]),
            helper.make_node("Add", ["g", "shift"], ["y"]),
        ],
        "tokens",
        [
            helper.make_tensor_value_info("words", TensorProto.INT64, ["batch", "length"]),
            helper.make_tensor_value_info("shift", TensorProto.FLOAT, ["batch", 1, 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [table],
    )
    path = folder / "tokens.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_file_is_measured_with_its_own_inputs(export):
    found = measure_file(export(), "onnxruntime-cpu")
    assert found["source"] == "measured"
    assert (found["target"], found["batch"], found["threads"]) == ("onnxruntime-cpu", 1, 1)
    assert found["values"]["latency_ms"] > 0
    assert found["values"]["throughput"] == pytest.approx(1e3 / found["values"]["latency_ms"])
    assert found["wall_ms"]["p50"] <= found["wall_ms"]["p90"] <= found["wall_ms"]["p99"]
    assert {"warm", "converged", "contended"} <= found.keys()


def test_a_batch_is_one_inference(export):
    found = measure_file(export(), {"runtime": "onnxruntime-cpu", "batch": 16})
    assert found["values"]["throughput"] == pytest.approx(16e3 / found["values"]["latency_ms"])


def test_open_axes_are_said(tmp_path):
    path = tokens(tmp_path)
    feed = example_of(path, 3, {"words": [3, 7]})
    assert feed["words"].shape == (3, 7)
    assert feed["words"].dtype == np.int64
    assert feed["shift"].shape == (3, 1, 4)
    assert measure_file(path, "onnxruntime-cpu", {"words": [1, 7]})["values"]["latency_ms"] > 0
    assert example_of(path, 8, {"words": [1, 7]})["words"].shape == (8, 7)  # of one input, in any batch


def test_weights_beside_the_file_are_found(tmp_path):
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.bin")
    assert measure_file(tmp_path / "m.onnx", "onnxruntime-cpu")["values"]["latency_ms"] > 0


def test_an_exported_program_is_measured_too(export):
    assert measure_file(export(suffix=".pt2"), "torch-cpu")["values"]["latency_ms"] > 0
    with pytest.raises(ValueError, match=r"has a batch of 1, not 2: 1x1x8x8"):
        measure_file(export(suffix=".pt2"), {"runtime": "torch-cpu", "batch": 2})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, r"input 'words' of tokens.onnx has open axes: \?x\?; say its shape"),
        ({"word": [1, 7]}, "has no input 'word': its inputs are words, shift"),
        ({"words": [1]}, r"the shape \(1,\) does not fit input 'words'"),
        ({"words": [1, 7], "shift": [1, 2, 4]}, r"\(1, 2, 4\) does not fit input 'shift'.*\?x1x4"),
        ({"words": [2, 7]}, "has a batch of 2, not 1"),
        ({"words": [1, 10**12]}, "is larger than"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, shapes, message):
    with pytest.raises(ValueError, match=message):
        measure_file(tokens(tmp_path), "onnxruntime-cpu", shapes)


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("nowhere.onnx", "onnxruntime-cpu", "nowhere.onnx does not exist"),
        ("broken.onnx", "onnxruntime-cpu", "broken.onnx is no ONNX file"),
        ("broken.pt2", "torch-cpu", "broken.pt2 is no exported program"),
        ("broken.pt2", "onnxruntime-cpu", r"runs \.onnx files, not broken\.pt2"),
        ("broken.onnx", "onnxruntime-gpu", "is unknown"),
    ],
)
def test_what_is_no_such_file(tmp_path, name, target, message):
    for broken in ("broken.onnx", "broken.pt2"):
        (tmp_path / broken).write_bytes(b"no model")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        measure_file(tmp_path / name, target)


def test_threads_are_the_sessions(export):
    torch.set_num_threads(1)
    found = measure_file(export(), {"name": "two", "runtime": "onnxruntime-cpu", "threads": 2})
    assert (found["target"], found["threads"]) == ("two", 2)


def test_a_file_of_litert_is_measured_and_predicted(export):
    path = export(suffix=".tflite")
    assert example_of(path, 1)["input"].dtype == np.float32
    assert measure_file(path, "litert-cpu")["values"]["latency_ms"] > 0
    npu = measure_file(path, "ethos-u55-256")
    assert npu["source"] == "predicted"
    assert set(npu["values"]) == {"latency_ms", "peak_memory_mb", "flash_mb"}
    micro = measure_file(path, "tflite-micro")
    assert (micro["source"], set(micro["values"])) == ("measured", {"peak_memory_mb", "flash_mb"})
    with pytest.raises(ValueError, match="has the option 'batch'"):
        measure_file(path, {"runtime": "litert-cpu", "batch": 4})


def test_weights_outside_of_the_files_folder_are_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "inside" / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="m.bin")
    moved = onnx.load(path, load_external_data=False)
    (location,) = [e for e in moved.graph.initializer[0].external_data if e.key == "location"]
    location.value = "../m.bin"
    path.write_bytes(moved.SerializeToString())
    (tmp_path / "inside" / "m.bin").rename(tmp_path / "m.bin")
    with pytest.raises(ValueError, match=r"m\.bin"):
        measure_file(path, "onnxruntime-cpu")
