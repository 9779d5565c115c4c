"""TensorRT and CUDA as stand-ins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raysearch.backends.runtimes.nvidia import engine, tensorrt

from . import cuda_stand_in, tensorrt_stand_in


@pytest.fixture(scope="session")
def net(export: Callable[..., Path]) -> Path:
    """The file of a small net on 1 x 8 x 8 inputs, written before torch is told of a GPU."""
    return export()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> cuda_stand_in.Cuda:
    """A stand-in of torch's CUDA."""
    return cuda_stand_in.install(monkeypatch)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, cuda: cuda_stand_in.Cuda, tmp_path: Path) -> Iterator[object]:
    """A stand-in of TensorRT on one of CUDA, with an empty cache."""
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_stand_in)
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: object())
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    tensorrt_stand_in.built.clear()
    engine.log.cache_clear()
    yield tensorrt_stand_in
    engine.log.cache_clear()
