"""TPUs as targets: what is said of them with no compiler at hand, by a stand-in for its process."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from raysearch import backends
from raysearch.backends.base import Estimator, MeasurementError
from raysearch.backends.runtimes.tpu import target
from raysearch.basics.failures import UserError

ONE = {"input": np.zeros((4, 3, 8, 8), np.float32)}


@pytest.fixture
def said(monkeypatch):
    """What the compiler's process is asked, and what it answers."""
    answers = {"optimal_seconds": 2e-3, "bytes": 5_000_000}
    asked = []

    class StandIn:
        def __init__(self, module, environment):
            asked.append((module, environment))

        def ask(self, request, limit_s, **arguments):
            asked.append((request, arguments))
            if isinstance(answers["optimal_seconds"], str):
                raise MeasurementError(answers["optimal_seconds"])
            return answers

    monkeypatch.setattr(target, "Child", StandIn)
    return answers, asked


def test_an_estimate_is_what_the_compiler_says(said):
    tpu = backends.get({"name": "mine", "runtime": "tpu-v5e", "batch": 4, "dtype": "f32"})
    figures, notes = tpu.estimate(Path("net.pt2"), ONE)
    assert figures == {"latency_ms": 2.0, "throughput": 2000.0, "peak_memory_mb": 5.0}
    assert len(notes) == 1
    assert "a lower bound" in notes[0]
    assert "f32" in notes[0]
    expected = {"path": "net.pt2", "runtime": "tpu-v5e", "dtype": "f32", "shapes": [(4, 3, 8, 8)]}
    assert said[1][1] == ("estimate", expected)


@pytest.mark.parametrize(
    ("optimal", "seconds", "unestimated"),
    [(-5.75, 0.25, 6), (-0.999, 0.001, 1), (0.25, 0.25, 0), (1.25, 1.25, 0)],
)
def test_operators_without_an_estimate_are_counted_and_their_seconds_added_back(
    said, optimal, seconds, unestimated
):
    said[0]["optimal_seconds"] = optimal
    figures, notes = backends.get("tpu-v4").estimate(Path("net.pt2"), ONE)
    assert figures["latency_ms"] == pytest.approx(1e3 * seconds)
    assert [n for n in notes if "without" in n or "no estimate" in n] == (
        [f"{unestimated} operators, of which XLA has no estimate, count nothing in the latency"]
        if unestimated
        else []
    )


def test_without_any_estimate_there_is_none(said):
    said[0]["optimal_seconds"] = -3.0
    with pytest.raises(MeasurementError, match=r"tpu-v4 cannot estimate net\.pt2: XLA knows nothing of it"):
        backends.get("tpu-v4").estimate(Path("net.pt2"), ONE)


def test_a_refusal_names_the_target(said):
    said[0]["optimal_seconds"] = "cannot run net.pt2: JAX has no aten.foo"
    with pytest.raises(MeasurementError, match=r"^tpu-v6e cannot run net\.pt2: JAX has no aten\.foo$"):
        backends.get("tpu-v6e").estimate(Path("net.pt2"), ONE)


def test_the_compiler_asks_nobody_and_locks_nothing(said):
    backends.get("tpu-v5p").estimate(Path("net.pt2"), ONE)
    environment = said[1][0][1]
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert environment["TPU_SKIP_MDS_QUERY"] == "1"
    assert environment["ALLOW_MULTIPLE_LIBTPU_LOAD"] == "1"


def test_without_the_packages_it_says_how_to_install_them(monkeypatch):
    monkeypatch.setattr(target, "find_spec", lambda name: None if name == "torchax" else object())
    expected = 'torchax is not installed: pip install "raysearch[tpu]"'
    assert backends.get("tpu-v5e").unavailable() == expected


def test_another_type_is_refused():
    with pytest.raises(UserError, match="target 'tpu-v5e': dtype is 'int8', give bf16 or f32"):
        backends.get({"name": "tpu-v5e", "dtype": "int8"})


def test_a_chip_among_the_devices_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(target, "_PCI", tmp_path)
    for place, vendor, device in (("00:04.0", "0x1ae0", "0x0042"), ("00:05.0", "0x1ae0", "0x0063")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "vendor").write_text(f"{vendor}\n")
        (tmp_path / place / "device").write_text(f"{device}\n")
    here, elsewhere = backends.get("tpu-v5e"), backends.get("tpu-v6e")
    assert here.figures["latency_ms"] == "measured"
    assert not isinstance(here, Estimator)
    assert elsewhere.figures["latency_ms"] == "predicted"
    assert isinstance(elsewhere, Estimator)
    assert pickle.loads(pickle.dumps(here)) == here
    assert backends.get(backends.spec_of(here)) == here
