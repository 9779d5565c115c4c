"""Every target that is installed keeps the contract, and the contract catches what it promises to catch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from litert_files import integers
from torch import nn

from raysearch import backends
from raysearch.backends.base import in_integers_alone
from raysearch.backends.runtimes.torch import Torch, TorchModel
from raysearch.networks.capture import capture
from raysearch.testing import check_target
from raysearch.trainables.export import export_litert
from raysearch.trainables.export.deployment import write_files
from raysearch.trainables.quantization import fold_batch_norm

# Which compute in 16 bits unless told otherwise, and what that may change.
_IN_HALF = {"qnn-htp", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e"}
_HALF = 0.02
# What a C++ compiler takes half a minute for.
_SLOW = {"torch-compile-cpu", "torch-aoti-cpu"}
X = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)).eval()


@pytest.fixture(scope="module")
def expected(network: nn.Module) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = network(torch.from_numpy(X)).numpy()
    return found


@pytest.fixture(scope="module")
def files(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    captured = fold_batch_norm(capture(network, torch.from_numpy(X[:2])))
    forms = {backends.get(name).form for name in backends.names() if backends.get(name).unavailable() is None}
    return write_files(captured, tmp_path_factory.mktemp("files"), sorted(forms))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in _SLOW)) for n in backends.names()]
)
def test_every_target_keeps_the_contract(
    name: str, files: Mapping[str, Path], network: nn.Module, expected: np.ndarray, tmp_path: Path
) -> None:
    backend = backends.get(name)
    if (reason := backend.unavailable()) is not None:
        pytest.skip(reason)
    if in_integers_alone(backend):
        module, path = eight_bits(network, tmp_path / "model.tflite")
        with torch.no_grad():
            expected = module(torch.from_numpy(X)).numpy()
        check_target(name, path, {"input": X}, [expected], tolerance=0.05)
    else:
        tolerance = _HALF if name in _IN_HALF else 1e-3
        check_target(name, files[backend.form], {"input": X}, [expected], tolerance=tolerance)


def eight_bits(network: nn.Module, path: Path) -> tuple[nn.Module, Path]:
    module = integers(network, X.shape[1:])
    export_litert(module, path)
    return module, path


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "two", "runtime": "onnxruntime-cpu", "threads": 2, "batch": 3},
        {"name": "half", "runtime": "openvino-cpu", "batch": 2},
        {"name": "metered", "runtime": "onnxruntime-cpu", "meter": ["echo", "1 J"]},
    ],
)
def test_options_keep_the_contract(
    spec: Mapping[str, Any], files: Mapping[str, Path], expected: np.ndarray
) -> None:
    if (reason := backends.get(spec).unavailable()) is not None:
        pytest.skip(reason)
    check_target(spec, files["uint8"], {"input": X}, [expected])


@dataclass(frozen=True, kw_only=True)
class Broken(Torch):
    runtime: str = "torch-cpu"


class SaysTooMuch(Broken):
    figures: ClassVar[Mapping[str, Any]] = {"lateness": "measured"}


class FromNowhere(Broken):
    figures: ClassVar[Mapping[str, Any]] = {"latency_ms": "guessed"}


class TakesAnything(Broken):
    def load(self, path: Path, *, optimize: bool = True) -> TorchModel:
        return super().load(path.with_name("model.pt2"))


class Drifts(Broken):
    def load(self, path: Path, *, optimize: bool = True) -> Any:
        model, calls = super().load(path), iter(range(100))
        return lambda feed: tuple(output + 1e-6 * next(calls) for output in model(feed))


class Scales(Broken):
    def load(self, path: Path, *, optimize: bool = True) -> Any:
        model = super().load(path)
        return lambda feed: tuple(1.1 * output for output in model(feed))


class ForgetsItsMeter(Broken):
    def unavailable(self) -> str | None:
        return None


class Runs(Broken):
    def clock(self) -> Any:
        times = iter(range(100, 0, -1))
        return lambda: next(times)


@pytest.mark.parametrize(
    ("home", "broken"),
    [
        (SaysTooMuch, "must be metrics of a target"),
        (FromNowhere, "must come from measured"),
        (TakesAnything, "must be refused"),
        (Drifts, "must give the same outputs"),
        (Scales, "from what is expected"),
        (ForgetsItsMeter, "whose meter cannot be read must be unavailable"),
        (Runs, "must not run backwards"),
    ],
)
def test_the_contract_catches(
    home: type[Broken],
    broken: str,
    files: Mapping[str, Path],
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "_class_of", lambda runtime: home)
    with pytest.raises(AssertionError, match=broken):
        check_target("torch-cpu", files["pt2"], {"input": X}, [expected])
