"""Tiny model files, written once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from litert_files import integers, written
from small_net import small_net

from raysearch.trainables.export import export_litert

__all__ = ["written"]
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``export(width, seed, suffix)`` gives the file of a small net on 1 x 8 x 8 inputs."""
    folder = tmp_path_factory.mktemp("models")

    def write(width: int = 8, seed: int = 0, suffix: str = ".onnx") -> Path:
        path = folder / f"net-{width}-{seed}{suffix}"
        if path.exists():
            return path
        net = small_net(width, seed)
        if suffix == ".tflite":
            pytest.importorskip("litert_torch", reason="litert-torch is not installed")
            export_litert(integers(net), path)
        elif suffix == ".pt2":
            torch.export.save(torch.export.export(net, (torch.zeros(1, 1, 8, 8),)), str(path))
        else:
            torch.onnx.export(
                net,
                (torch.zeros(2, 1, 8, 8),),
                str(path),
                dynamo=True,
                opset_version=21,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
        return path

    return write


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """64 inputs of the small net, deterministic."""
    return np.random.default_rng(0).standard_normal((64, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def small(export: Callable[..., Path]) -> bytes:
    """The bytes of a small model."""
    return export(8).read_bytes()


@pytest.fixture
def large(export: Callable[..., Path]) -> bytes:
    """The bytes of a larger one."""
    return export(16).read_bytes()
