"""Eager torch runs the exported program as the module ran."""

import numpy as np
import pytest
import torch

from raysearch import backends
from raysearch.backends.base import MeasurementError

from .conftest import small_net

BACKEND = backends.get("torch-cpu")


def test_logits_equal_the_module(export, images):
    with torch.inference_mode():
        expected = small_net()(torch.from_numpy(images[:1])).numpy()
    np.testing.assert_allclose(BACKEND.load(export(suffix=".pt2"))(images[:1]), expected, atol=1e-6)


def test_runner_runs_on_one_thread(export, images):
    run = BACKEND.load(export(suffix=".pt2")).runner(images[:1])
    run()
    assert torch.get_num_threads() == 1


def test_a_file_it_cannot_read_is_named(tmp_path):
    path = tmp_path / "broken.pt2"
    path.write_bytes(b"not a program")
    with pytest.raises(MeasurementError, match=r"torch-cpu cannot load broken\.pt2"):
        BACKEND.load(path)
