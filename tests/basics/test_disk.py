from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file

from raysearch.basics.disk import StorageError, is_full, storing
from raysearch.basics.failures import RunError
from raysearch.storage import is_trouble

WEIGHTS = {"weight": torch.zeros(100_000)}


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Every write beyond so many bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_onnx(weights: dict[str, torch.Tensor], path: Path) -> None:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [100_000], weights["weight"].tolist())
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], [tensor])), path)


@pytest.mark.parametrize("save", [torch.save, save_file, save_onnx])
def test_whoever_writes_a_full_disk_is_told(save, tmp_path):
    path = tmp_path / "file"
    with (
        pytest.raises(StorageError, match=f"^{tmp_path} cannot be written: "),
        small_disk(50_000),
        storing(tmp_path),
    ):
        save(WEIGHTS, path)
    with storing(tmp_path):
        save(WEIGHTS, path)
    assert path.stat().st_size > 400_000


def test_other_failures_are_left_as_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), storing(tmp_path):
        _ = 1 // 0


def test_a_full_disk_is_known_behind_other_errors():
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = RuntimeError("the exporter failed")
    wrapped.__cause__ = full
    assert is_full(wrapped)
    assert is_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_full(OSError(errno.ENOENT, "No such file or directory"))
    assert not is_full(ValueError("a bug"))


def test_a_run_that_was_lost_while_the_disk_was_full_is_lost():
    lost = RunError("another driver has taken the run over")
    lost.__context__ = StorageError("the disk is full")
    assert is_full(lost.__context__)
    assert not is_full(lost)
    assert not is_trouble(lost)
