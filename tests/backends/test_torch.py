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
    (logits,) = BACKEND.load(export(suffix=".pt2"))({"input": images[:1]})
    np.testing.assert_allclose(logits, expected, atol=1e-6)


class Sums(torch.nn.Module):
    """Takes keywords, and gives a mapping in which something is no tensor."""

    def forward(self, *, a, b):
        return {"sum": a + b, "none": None, "difference": a - b}


def test_inputs_by_name_and_several_outputs(tmp_path):
    a, b = torch.rand(3, 2), torch.rand(3, 2)
    torch.export.save(torch.export.export(Sums(), (), {"a": a, "b": b}), str(tmp_path / "sums.pt2"))
    model = BACKEND.load(tmp_path / "sums.pt2")
    total, difference = model({"a": a.numpy(), "b": b.numpy()})
    np.testing.assert_array_equal(total, (a + b).numpy())
    np.testing.assert_array_equal(difference, (a - b).numpy())
    assert model.runner({"a": a.numpy(), "b": b.numpy()})()["none"] is None


def test_runner_runs_on_one_thread(export, images):
    run = BACKEND.load(export(suffix=".pt2")).runner({"input": images[:1]})
    run()
    assert torch.get_num_threads() == 1


def test_a_file_it_cannot_read_is_named(tmp_path):
    path = tmp_path / "broken.pt2"
    path.write_bytes(b"not a program")
    with pytest.raises(MeasurementError, match=r"torch-cpu cannot load broken\.pt2"):
        BACKEND.load(path)
