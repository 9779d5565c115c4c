"""TensorRT's adaptor, on a stand-in of the bindings; and on TensorRT itself wherever it and a GPU are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from zoo import NETWORKS, captured, uniform

from raysearch import backends
from raysearch.backends.base import MeasurementError
from raysearch.backends.measurement.protocol import Clock, Protocol, measure
from raysearch.backends.runtimes.nvidia.tensorrt import TensorRt
from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.testing.target_contract import check_target
from raysearch.trainables.export import export_onnx
from raysearch.trainables.quantization import calibrate, insert_quantizers

BACKEND = backends.get("tensorrt")
REASON = BACKEND.unavailable()
real = pytest.mark.skipif(REASON is not None, reason=f"TensorRT: {REASON}")


def cache_folder() -> Path:
    return Path(os.environ["RAYSEARCH_CACHE"])


def on_cpu(path: Path, x: np.ndarray) -> np.ndarray:
    return OnnxRuntimeCpu().load(path, optimize=False)({"input": x})[0]


def one_operator(folder: Path, operator: str, shape: list[Any], **attributes: Any) -> Path:
    """A file of one operator from float to float."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    if operator == "NonZero":
        values[1] = helper.make_tensor_value_info("y", TensorProto.INT64, [len(shape), None])
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    graph = helper.make_graph([node], "one", values[:1], values[1:])
    path = folder / f"{operator}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="session")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A quantised network in both forms."""
    folder = tmp_path_factory.mktemp("forms")
    module = insert_quantizers(captured("resnet"), uniform(captured("resnet"), 8, 8), unsigned_bits=7)
    calibrate(module, [NETWORKS["resnet"].inputs(16)])
    paths = {form: folder / f"{form}.onnx" for form in ("uint8", "int8")}
    for form, path in paths.items():
        export_onnx(module, path, form)  # type: ignore[arg-type]
    return paths


# -- on the stand-in ---------------------------------------------------------------------------------------


def test_it_keeps_the_contract_of_targets(trt: Any, net: Path, images: np.ndarray) -> None:
    check_target({"runtime": "tensorrt", "batch": 2}, net, {"input": images[:8]}, [on_cpu(net, images[:8])])


def test_signed_quantisers_are_computed(trt: Any, quantised: dict[str, Path]) -> None:
    x = NETWORKS["resnet"].inputs(5).numpy()  # type: ignore[union-attr]
    found = BACKEND.load(quantised["int8"])({"input": x})[0]
    np.testing.assert_allclose(found, on_cpu(quantised["int8"], x), atol=1e-5)


def test_unsigned_quantisers_are_refused_in_a_sentence(trt: Any, quantised: dict[str, Path]) -> None:
    with pytest.raises(MeasurementError, match=r"uint8\.onnx: .* zero point in uint8.*the form int8"):
        BACKEND.load(quantised["uint8"])


def test_one_engine_serves_all_batches_up_to_the_largest(trt: Any, net: Path, images: np.ndarray) -> None:
    model = BACKEND.load(net)
    for count in (8, 3, 8, 1):
        assert model({"input": images[:count]})[0].shape == (count, 10)
    assert [b["shapes"]["input"][::2] for b in trt.built] == [[[1, 1, 8, 8], [8, 1, 8, 8]]]
    model({"input": images[:9]})
    assert trt.built[-1]["shapes"]["input"] == [[1, 1, 8, 8], [8, 1, 8, 8], [9, 1, 8, 8]]


def test_what_is_timed_is_built_for_its_shapes_alone(trt: Any, net: Path, images: np.ndarray) -> None:
    model = TensorRt(workspace_mb=3).load(net)
    model.runner({"input": images[:4]})
    (found,) = trt.built
    assert found["shapes"]["input"] == [[4, 1, 8, 8]] * 3
    assert found["pools"] == {trt.MemoryPoolType.WORKSPACE: 3 * 2**20}
    assert not found["flags"]  # no TF32
    assert model.engine is not None
    assert model.engine.size_mb > 0
    assert model.engine.memory_mb == 3.0


def test_a_fixed_batch_needs_no_profile(trt: Any, tmp_path: Path) -> None:
    model = BACKEND.load(one_operator(tmp_path, "Relu", [2, 3]))
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_array_equal(model({"x": x})[0], x.clip(0))
    with pytest.raises(MeasurementError, match=r"'x' cannot have the shape \(1, 3\)"):
        model({"x": x[:1]})


def test_timings_are_kept_and_used_again(trt: Any, net: Path, images: np.ndarray) -> None:
    for _ in range(3):
        BACKEND.load(net).runner({"input": images[:1]})
    assert [b["timings"] for b in trt.built] == [0, 1, 2]
    kept = list((cache_folder() / "tensorrt").iterdir())
    assert [path.name for path in kept] == ["10.3.0-Stand-in-RTX.timings"]


@pytest.mark.parametrize("kept", [b"half a f", b'["9.9", 5]'])
def test_timings_that_are_broken_or_of_another_version_are_not_used(
    kept: bytes, trt: Any, net: Path, images: np.ndarray
) -> None:
    file = cache_folder() / "tensorrt/10.3.0-Stand-in-RTX.timings"
    file.parent.mkdir(parents=True)
    file.write_bytes(kept)
    BACKEND.load(net).runner({"input": images[:1]})
    assert trt.built[-1]["timings"] == 0
    assert file.read_bytes() == b'["10.3.0", 1]'


def test_a_cache_that_cannot_be_written_costs_only_time(trt: Any, net: Path, images: np.ndarray) -> None:
    cache_folder().write_text("a file", encoding="utf-8")
    assert BACKEND.load(net).runner({"input": images[:1]})() is None


def test_an_operator_that_it_lacks_is_named(trt: Any, tmp_path: Path) -> None:
    path = one_operator(tmp_path, trt.LACKING, [1, 1, 3, 3])
    with pytest.raises(
        MeasurementError, match=r"DeformConv\.onnx: DeformConv 'y': no importer is registered"
    ):
        BACKEND.load(path)


def test_a_network_that_cannot_be_built_gives_what_tensorrt_logged(trt: Any, tmp_path: Path) -> None:
    model = BACKEND.load(one_operator(tmp_path, trt.UNBUILDABLE, [2, 2]))
    with pytest.raises(MeasurementError, match="no engine can be built: could not find any implementation"):
        model.runner({"x": np.eye(2, dtype=np.float32)})


def test_an_output_whose_size_depends_on_values_is_refused(trt: Any, tmp_path: Path) -> None:
    model = BACKEND.load(one_operator(tmp_path, "NonZero", [2, 2]))
    with pytest.raises(MeasurementError, match="the size of output 'y' depends on values"):
        model({"x": np.eye(2, dtype=np.float32)})


def test_the_work_is_captured_and_timed_on_the_device(
    trt: Any, cuda: Any, net: Path, images: np.ndarray
) -> None:
    run, clock = BACKEND.load(net).runner({"input": images[:1]}), BACKEND.clock()
    start = clock()
    for _ in range(6):
        run()
    assert clock() - start == pytest.approx(6 * 0.5e6)
    assert [graph.launches for graph in cuda.graphs] == [6]


def test_what_cannot_be_captured_is_enqueued(trt: Any, cuda: Any, net: Path, images: np.ndarray) -> None:
    cuda.captures = False
    run, clock = BACKEND.load(net).runner({"input": images[:1]}), BACKEND.clock()
    start = clock()
    run()
    assert clock() - start == pytest.approx(0.5e6)
    assert not cuda.graphs


def test_float_parts_are_of_the_precision_that_was_asked_for(trt: Any, quantised: dict[str, Path]) -> None:
    x = NETWORKS["resnet"].inputs(3).numpy()  # type: ignore[union-attr]
    found = TensorRt(dtype="fp16").load(quantised["int8"])({"input": x})[0]
    exact = on_cpu(quantised["int8"], x)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"gpu": -1}, "gpu is -1, give the GPU's index"),
        ({"gpu": True}, "gpu is True"),
        ({"dtype": "int8"}, "dtype is 'int8', give fp32, fp16, bf16"),
        ({"workspace_mb": 0}, "workspace_mb is 0, give a whole number"),
        ({"workspace": 3}, "option 'workspace': did you mean 'workspace_mb'"),
    ],
)
def test_options_that_cannot_be_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backends.get({"runtime": "tensorrt", **option})


def test_it_says_why_it_cannot_be_used(trt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BACKEND.unavailable() is None
    assert (BACKEND.version(), BACKEND.device()) == ("10.3.0", "Stand-in RTX")
    assert "no GPU 3 here, only 1" in str(TensorRt(gpu=3).unavailable())
    monkeypatch.setattr(trt, "__version__", "8.6.1")
    assert "tensorrt 8.6.1 is too old" in str(BACKEND.unavailable())
    monkeypatch.setattr(TensorRt, "version", _without_libraries)
    assert "fails to import: libnvinfer.so.10" in str(BACKEND.unavailable())
    monkeypatch.setattr("raysearch.backends.runtimes.nvidia.tensorrt.find_spec", lambda name: None)
    assert "pip install tensorrt-cu12" in str(BACKEND.unavailable())


def _without_libraries(self: TensorRt) -> str:
    raise ImportError("libnvinfer.so.10: cannot open shared object file")


# -- on TensorRT itself ------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_tensorrt_keeps_the_contract(dtype: str, export: Callable[..., Path], images: np.ndarray) -> None:
    path = export(16)
    tolerance = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 4e-2}[dtype]
    target = {"runtime": "tensorrt", "dtype": dtype}
    check_target(target, path, {"input": images[:8]}, [on_cpu(path, images[:8])], tolerance=tolerance)


@real
def test_tensorrt_computes_signed_quantisers_as_they_are_written(quantised: dict[str, Path]) -> None:
    x = NETWORKS["resnet"].inputs(64).numpy()  # type: ignore[union-attr]
    found = BACKEND.load(quantised["int8"])({"input": x})[0]
    exact = on_cpu(quantised["int8"], x)
    apart = np.abs(found - exact).max(1) / np.abs(exact).max()
    assert np.median(apart) < 0.01  # a value between two steps may be rounded either way
    assert apart.max() < 0.1


@real
def test_a_larger_network_takes_longer_on_the_device(export: Callable[..., Path], images: np.ndarray) -> None:
    feed = {"input": images}
    small, large = (BACKEND.load(export(width)).runner(feed) for width in (8, 64))
    figures = measure(large, small, Protocol(max_s=2.0), Clock(cpu=BACKEND.clock(), each=False))
    assert figures.ratio > 1.05
    assert figures.noise < 0.1


@real
def test_a_captured_inference_gives_the_same(export: Callable[..., Path], images: np.ndarray) -> None:
    """Launched many times, as a measurement does it, it leaves later inferences right."""
    model = BACKEND.load(export())
    run = model.runner({"input": images[:4]})
    for _ in range(100):
        run()
    torch.cuda.synchronize()
    np.testing.assert_allclose(model({"input": images})[0], on_cpu(export(), images), atol=1e-4)
