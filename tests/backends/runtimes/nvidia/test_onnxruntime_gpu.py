"""ONNX Runtime's providers for NVIDIA's GPUs: on stand-ins, and on the providers wherever they work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
import pytest

from raysearch import backends
from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.nvidia import onnxruntime_gpu
from raysearch.testing.target_contract import check_target

RUNTIMES = ("onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx")
RTX = "NvTensorRTRTXExecutionProvider"


class Session:
    """ONNX Runtime's session on the CPU, that says it runs on what it was given."""

    silent = False
    made: ClassVar[list[Any]] = []

    def __init__(self, content: bytes, options: Any = None, providers: Any = ()) -> None:
        self._own = REAL_SESSION(content, providers=["CPUExecutionProvider"])
        names = [p[0] if isinstance(p, tuple) else p for p in providers] or [RTX]
        self._names = ["CPUExecutionProvider"] if self.silent else names
        Session.made.append(providers)

    def get_providers(self) -> list[str]:
        return self._names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


REAL_SESSION = ort.InferenceSession
REAL_VALUE = ort.OrtValue.ortvalue_from_numpy


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch, cuda: Any) -> Iterator[type[Session]]:
    """All three as if they were there, on the CPU."""
    plugin = SimpleNamespace(get_library_path=lambda: "/plugin.so", __version__="0.5")
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    registered: list[tuple[str, str]] = []
    monkeypatch.setattr(onnxruntime_gpu, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", plugin)
    monkeypatch.setattr(ort, "get_available_providers", lambda: available)
    monkeypatch.setattr(ort, "register_execution_provider_library", lambda *a: registered.append(a))
    monkeypatch.setattr(ort, "get_ep_devices", lambda: [SimpleNamespace(ep_name=RTX)] if registered else [])
    monkeypatch.setattr(
        ort, "SessionOptions", lambda: SimpleNamespace(add_provider_for_devices=lambda *a: None)
    )
    monkeypatch.setattr(ort, "InferenceSession", Session)
    monkeypatch.setattr(Session, "silent", False)
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", lambda array, *place: REAL_VALUE(array))
    cached = (onnxruntime_gpu._trial, onnxruntime_gpu._rtx_devices, onnxruntime_gpu._tensorrt)
    for kept in cached:
        kept.cache_clear()
    Session.made.clear()
    yield Session
    for kept in cached:
        kept.cache_clear()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_they_keep_the_contract_of_targets(
    runtime: str, providers: Any, net: Path, images: np.ndarray
) -> None:
    feed = {"input": images[:8]}
    check_target(runtime, net, feed, _expected(net, feed))


def _expected(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    return REAL_SESSION(str(path), providers=["CPUExecutionProvider"]).run(None, feed)  # type: ignore[no-any-return]


def test_each_says_what_it_wants_and_computes(providers: Any) -> None:
    cuda, tensorrt, rtx = map(backends.get, RUNTIMES)
    assert (cuda.form, tensorrt.form, rtx.form) == ("uint8", "int8", "int8")
    assert (cuda.integers, rtx.integers) == (frozenset(), frozenset({2, 4, 8}))
    assert cuda.clock() is time.perf_counter_ns
    assert rtx.version() == f"{ort.__version__}+0.5"


def test_the_version_of_tensorrt_is_that_of_the_library_that_was_loaded(
    providers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of another TensorRT are another key."""
    asked: list[str] = []

    def load(name: str, mode: int = 0) -> Any:
        assert mode  # what is not loaded yet is not what runs
        asked.append(name)
        if name != "libnvinfer.so.11":
            raise OSError(f"{name}: cannot open shared object file")
        return SimpleNamespace(getInferLibVersion=lambda: 110002)

    monkeypatch.setattr(onnxruntime_gpu.ctypes, "CDLL", load)
    cuda, tensorrt, _ = map(backends.get, RUNTIMES)
    assert tensorrt.version() == f"{ort.__version__}+tensorrt110002"
    assert asked == ["libnvinfer.so.10", "libnvinfer.so.11"]
    assert cuda.version() == ort.__version__


def test_without_a_tensorrt_that_works_it_has_no_version(
    providers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "silent", True)
    assert backends.get("onnxruntime-tensorrt").version() == ort.__version__


def test_options_reach_the_provider(providers: Any, net: Path) -> None:
    backends.get({"runtime": "onnxruntime-cuda", "gpu": 1}).load(net)
    backends.get({"runtime": "onnxruntime-tensorrt", "dtype": "fp16"}).load(net)
    cuda, tensorrt = (made[0][1] for made in providers.made)
    assert cuda == {"device_id": "1", "use_tf32": "0"}
    assert tensorrt == {
        "device_id": "0",
        "trt_int8_enable": "1",
        "trt_fp16_enable": "1",
        "trt_bf16_enable": "0",
    }


def test_going_on_without_the_provider_is_no_measurement(
    providers: Any, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "silent", True)
    with pytest.raises(MeasurementError, match=r"goes on without the CUDAExecutionProvider"):
        backends.get("onnxruntime-cuda").load(net)
    assert "CUDAExecutionProvider does not work here" in str(backends.get("onnxruntime-cuda").unavailable())


def test_a_gpu_that_the_provider_does_not_find_is_said(providers: Any) -> None:
    reason = backends.get({"runtime": "onnxruntime-tensorrt-rtx", "gpu": 4}).unavailable()
    assert reason == "the provider finds 1 GPUs here, and none with the index 4"


def test_a_library_that_is_missing_is_named(providers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: str) -> None:
        raise RuntimeError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ort, "register_execution_provider_library", fails)
    assert "libcuda.so.1" in str(backends.get("onnxruntime-tensorrt-rtx").unavailable())


def test_a_package_that_is_missing_is_named_with_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, _, rtx = map(backends.get, RUNTIMES)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "pip uninstall onnxruntime, then pip install onnxruntime-gpu" in str(cuda.unavailable())
    monkeypatch.setattr(onnxruntime_gpu, "find_spec", lambda name: None if "nv" in name else object())
    assert "pip install onnxruntime-ep-nv-tensorrt-rtx" in str(rtx.unavailable())
    monkeypatch.setattr(onnxruntime_gpu, "find_spec", lambda name: None)
    assert cuda.unavailable() == "onnxruntime is not installed: pip install onnxruntime-gpu"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_providers_keep_the_contract(
    runtime: str, export: Callable[..., Path], images: np.ndarray
) -> None:
    reason = backends.get(runtime).unavailable()
    if reason is not None:
        pytest.skip(f"{runtime}: {reason}")
    path, feed = export(16), {"input": images[:8]}
    # TensorRT's provider has no switch for TF32.
    check_target(runtime, path, feed, _expected(path, feed), tolerance=5e-3)
