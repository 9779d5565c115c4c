"""A network as it is deployed: its figures against counts by hand, its remarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from trial_setup import small_task

from raysearch.backends import get
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.plans import TrialPlan
from raysearch.trainables.export.deployment import as_deployed, remarks, static_figures, write_files
from raysearch.trainables.quantization import Quantizer
from raysearch.trainables.task import Task

TARGETS = (get("onnxruntime-cpu"), get("torch-cpu"))


def network() -> nn.Module:
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    return nn.Sequential(*parts).eval()


@pytest.fixture
def task() -> Task:
    return small_task(model=network(), parent={})


def plan(weights: int) -> TrialPlan:
    return TrialPlan(bits=BitWidthPlan({"0": weights, "4": weights}, {"0": 8, "4": 8}))


def test_figures_in_float(task: Task, tmp_path: Path) -> None:
    module = as_deployed(network(), task, TrialPlan(), seed=0)
    assert not [m for m in module.modules() if isinstance(m, nn.BatchNorm2d | Quantizer)]
    files = write_files(module, tmp_path, ["uint8", "pt2"])
    figures = static_figures(module, files, TARGETS)
    weights = 4 * 9 + 4 + 1440 + 10  # batch norm has become a bias
    assert figures["params"] == weights
    assert figures["macs"] == 36 * 36 + 1440
    assert figures["size_mb"] == pytest.approx(4 * weights / 1e6)
    assert figures["file_mb"] == files["uint8"].stat().st_size / 1e6
    assert figures["peak_memory_mb/onnxruntime-cpu"] == figures["peak_memory_mb/torch-cpu"]


def test_figures_at_eight_bits(task: Task, tmp_path: Path) -> None:
    module = as_deployed(network(), task, plan(8), seed=0)
    figures = static_figures(module, write_files(module, tmp_path, ["uint8", "pt2"]), TARGETS)
    assert figures["size_mb"] == pytest.approx((4 * 9 + 1440 + 4 * 14) / 1e6)  # biases have 32 bits
    assert figures["peak_memory_mb/onnxruntime-cpu"] < figures["peak_memory_mb/torch-cpu"]


def test_the_network_given_stays_as_it_is_and_the_seed_decides_what_calibrates(task: Task) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    many = TensorDataset(torch.randn(4000, 1, 8, 8), torch.zeros(4000, dtype=torch.int64))
    task = small_task(model=model, parent={}, train=many)
    first, again, other = (as_deployed(model, task, plan(8), seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_file_computes_what_the_network_does(task: Task, tmp_path: Path) -> None:
    model, (x,) = network(), task.validation[:5][:1]
    module = as_deployed(model, task, TrialPlan(), seed=0)
    session = onnxruntime.InferenceSession(write_files(module, tmp_path, ["uint8"])["uint8"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(x).detach(), atol=1e-5, rtol=1e-4)


def test_remarks_say_where_a_precision_is_not_what_is_computed(task: Task) -> None:
    assert remarks(as_deployed(network(), task, TrialPlan(), 0), TrialPlan()) == []
    assert remarks(as_deployed(network(), task, plan(8), 0), plan(8)) == []
    found = remarks(as_deployed(network(), task, plan(2), 0), plan(2))
    assert found == ["weights of 2 bits are computed in 8: they count in size_mb, not in latency"]
    signed = replace(get("onnxruntime-tensorrt"), name="signed")
    (said,) = remarks(as_deployed(network(), task, plan(8), 0), plan(8), targets=[signed])
    assert said.startswith("activations without a sign lie within 7 bits")
    gelu = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.GELU(), nn.Linear(8, 10))
    bits = TrialPlan(bits=BitWidthPlan({"1": 8, "4": 8}, {"1": 8, "4": 8}))
    (said,) = remarks(as_deployed(gelu, small_task(model=gelu, parent={}), bits, 0), bits)
    assert said.startswith("in float: ")
    assert "gelu" in said
