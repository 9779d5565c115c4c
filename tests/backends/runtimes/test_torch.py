"""Torch runs the exported program as the module ran, eagerly and compiled, on a CPU and on a GPU."""

import os
import tempfile

import numpy as np
import pytest
import torch
from small_net import small_net
from torch.utils import _pytree as pytree

from raysearch import backends
from raysearch.backends.base import MeasurementError, trial_figures
from raysearch.backends.measurement.protocol import Clock, Protocol, measure
from raysearch.backends.runtimes.torch import cuda_clock

BACKEND = backends.get("torch-cpu")
BUILT = ["torch-compile-cpu", "torch-aoti-cpu", "torch-compile-cuda", "torch-aoti-cuda"]
ON_GPU = ["torch-cuda", "torch-compile-cuda", "torch-aoti-cuda", "torch-cuda-graphs"]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")


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


def output_of(run):
    (output,) = pytree.tree_leaves(run())
    return output.float().cpu().numpy()


def check_what_is_timed(name, path, images):
    """What is repeated under the clock gives what the module gives."""
    backend = backends.get(name)
    if (reason := backend.unavailable()) is not None:
        pytest.skip(reason)
    with torch.inference_mode():
        expected = small_net()(torch.from_numpy(images[:1])).numpy()
    run = backend.load(path).runner({"input": images[:1]})
    for _ in range(3):
        np.testing.assert_allclose(output_of(run), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["torch-cpu", "torch-compile-cpu", "torch-aoti-cpu"])
def test_what_is_timed_equals_the_module(name, export, images, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = tmp_path / "own"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(own))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    check_what_is_timed(name, export(suffix=".pt2"), images)
    assert not list(tmp_path.glob("raysearch-torch-*"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(own)
    assert "TRITON_CACHE_DIR" not in os.environ
    assert not list(own.rglob("*.so"))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ON_GPU)
def test_what_is_timed_on_a_gpu_equals_the_module(name, export, images):
    check_what_is_timed(name, export(suffix=".pt2"), images)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["torch-cuda", "torch-cuda-graphs"])
def test_more_work_takes_a_gpu_longer(name, export, images):
    backend = backends.get({"runtime": name, "batch": 64})
    large, small = (backend.load(export(w, suffix=".pt2")).runner({"input": images[:1]}) for w in (2048, 8))
    figures = measure(large, small, Protocol(), Clock(cpu=backend.clock()))
    assert figures.ratio > 1.2
    assert figures.contention < 0.5


@pytest.mark.gpu
@needs_gpu
def test_a_graph_reads_the_inputs_it_was_given_after_all_else_is_gone(export, images):
    run = backends.get("torch-cuda-graphs").load(export(suffix=".pt2")).runner({"input": images[:1]})
    first = output_of(run)
    filler = [torch.full((1 << 20,), 7.0, device="cuda") for _ in range(20)]
    np.testing.assert_array_equal(output_of(run), first)
    assert len(filler) == 20


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_half_precision_is_nearly_the_same(export, images, dtype):
    half = backends.get({"name": "half", "runtime": "torch-cpu", "dtype": dtype})
    feed = {"input": images[:1]}
    (exact,), (near,) = (b.load(export(suffix=".pt2"))(feed) for b in (BACKEND, half))
    assert near.dtype == np.float32
    assert np.abs(near - exact).max() > 0
    np.testing.assert_allclose(near, exact, atol=0.02 * np.abs(exact).max())
    run = half.load(export(suffix=".pt2")).runner(feed)
    np.testing.assert_array_equal(output_of(run), near)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match=r"target 'torch-cuda': dtype is 'int8', give f32, bf16, f16"):
        backends.get({"runtime": "torch-cuda", "dtype": "int8"})


def test_what_compiles_for_minutes_is_for_finalists():
    for name in backends.names():
        backend = backends.get(name)
        if not name.startswith("torch"):
            continue
        assert backend.finalists_only == (name in BUILT)
        expected = {"peak_memory_mb": "static"} if name in BUILT else backend.figures
        assert trial_figures(backend) == expected
        assert backend.figures["latency_ms"] == "measured"
        assert backend.place == ("cuda" if name in ON_GPU else "cpu")


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    compiled, packaged = backends.get("torch-compile-cpu"), backends.get("torch-aoti-cpu")
    monkeypatch.setenv("CXX", "g++-99")
    for target in (compiled, packaged):
        assert target.unavailable() == (
            "the C++ compiler g++-99 is missing: install it (apt-get install g++) or name one in CXX"
        )
    assert BACKEND.unavailable() is None
    monkeypatch.setattr("raysearch.backends.runtimes.torch.shutil.which", lambda name: name)
    monkeypatch.setattr("raysearch.backends.runtimes.torch.sysconfig.get_path", lambda name: str(tmp_path))
    assert (
        compiled.unavailable() == f"Python's headers are missing in {tmp_path}: apt-get install python3-dev"
    )
    assert packaged.unavailable() is None


def test_a_missing_gpu_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for name in ON_GPU:
        assert backends.get(name).unavailable() == "torch finds no CUDA GPU here"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "this torch is built without CUDA" in backends.get("torch-cuda").unavailable()


class Gpu:
    """A device that works off what is launched behind the host's back."""

    def __init__(self):
        self.host_ns = self.done_ns = 0

    def launch(self, ms, host_ms):
        def infer():
            self.host_ns += round(host_ms * 1e6)
            self.done_ns = max(self.done_ns, self.host_ns) + round(ms * 1e6)

        return infer

    def event(self, enable_timing):
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, gpu):
        self._gpu, self.at = gpu, None

    def record(self):
        self.at = max(self._gpu.done_ns, self._gpu.host_ns)

    def synchronize(self):
        self._gpu.host_ns = max(self._gpu.host_ns, self.at)

    def elapsed_time(self, later):
        return float(np.float32((later.at - self.at) / 1e6))


def test_a_gpus_clock_times_blocks_that_are_launched_ahead(monkeypatch):
    gpu = Gpu()
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    clock = Clock(wall=lambda: gpu.host_ns, cpu=cuda_clock(), sleep=lambda s: None, each=False)
    protocol = Protocol(warm_s=0.0)
    figures = measure(gpu.launch(0.3, 0.01), gpu.launch(0.1, 0.01), protocol, clock)
    assert figures.ratio == pytest.approx(3.0, rel=1e-3)
    np.testing.assert_allclose(figures.cpu_ms, 0.3, rtol=0.02)
    np.testing.assert_allclose(figures.wall_ms, 0.3, rtol=0.02)
    assert figures.contention == pytest.approx(0.0, abs=1e-3)  # what settled is not waited for within a block
    slow_host = measure(gpu.launch(0.01, 0.2), gpu.launch(0.01, 0.1), protocol, clock)
    assert slow_host.ratio == pytest.approx(2.0, rel=0.1)  # the GPU waits, as it does for a user


def test_a_gpus_clock_keeps_its_precision_for_hours(monkeypatch):
    gpu = Gpu()
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    read = cuda_clock()
    for _ in range(3600):
        gpu.host_ns += 10**9
        read()
    before = read()
    gpu.host_ns += 2000
    assert read() - before == pytest.approx(2000, abs=2)
