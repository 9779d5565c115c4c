"""A board as a target of a study: measured, run and refused through the measurement service."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raysearch import backends
from raysearch.backends.base import MeasurementError
from raysearch.backends.boards.target import OnBoard
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.service import MeasurementService
from raysearch.basics.failures import MissingFile

from .conftest import Server, kill

QUICK = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0, settle_ms=0.5, block_ms=0.5)
EXAMPLE = {"input": np.zeros((1, 1, 8, 8), np.float32)}


@pytest.fixture
def spec(server: Server) -> dict[str, Any]:
    board = server.board
    return {
        "name": "jetson",
        "runtime": "onnxruntime-cpu",
        "ssh": board.address,
        "python": board.python,
        "identity": str(board.identity),
        "config": str(board.config),
    }


def test_a_board_is_described_as_it_was_asked_for(spec):
    made = backends.get(json.loads(json.dumps(spec)))
    assert isinstance(made, OnBoard)
    assert (made.name, made.form) == ("jetson", "uint8")
    assert backends.spec_of(made) == spec
    assert backends.get(backends.spec_of(made)) == made
    phone = {"name": "phone", "runtime": "onnxruntime-cpu", "command": ["./phone.sh", "{job}"]}
    assert backends.spec_of(backends.get(phone)) == phone


def test_models_are_measured_and_run_on_it(spec, tmp_path, export, images):
    """As here, with the reference's latency there as the unit, and from the cache the second time."""
    small, large = export(8).read_bytes(), export(16).read_bytes()
    here = backends.get("onnxruntime-cpu")
    made = backends.get(spec)
    assert (made.unavailable(), made.version(), made.weight_bits()) == (
        None,
        here.version(),
        here.weight_bits(),
    )
    service = MeasurementService(QUICK, tmp_path / "service")
    reference = service.set_reference(spec, small, EXAMPLE)
    assert (reference["target"], reference["ratio"]) == ("jetson", 1.0)
    measured = service.measure(spec, large, EXAMPLE)
    assert measured["latency_ms"] == pytest.approx(measured["ratio"] * reference["reference_ms"])
    assert measured["ratio"] > 1
    assert service.measure(spec, large, EXAMPLE)["cached"]
    assert service.remeasure(spec, large, EXAMPLE)["reference"] == reference["structure"]
    (outputs,) = service.run(spec, large, {"input": images})
    np.testing.assert_array_equal(outputs, here.load(export(16))({"input": images})[0])
    (few,) = service.run(spec, large, {"input": images[:2]})  # the model stays loaded
    np.testing.assert_allclose(few, outputs[:2], atol=1e-6)


def test_a_cut_connection_leaves_no_figure(spec, server, tmp_path, small, monkeypatch):
    import threading
    import time

    endless = Protocol(max_s=300, min_rounds=1000, max_rounds=1000)
    service = MeasurementService(endless, tmp_path / "service")

    def cut() -> None:
        while not server.measuring():
            time.sleep(0.05)
        for pid in server.sessions():
            kill(pid)

    backends.get(spec).version()  # asked once, not under the knife
    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(MeasurementError, match=r"connection to board .* was cut"):
        service.set_reference(spec, small, EXAMPLE)
    thread.join()
    assert not (tmp_path / "service" / "known.jsonl").exists()
    assert not list((tmp_path / "service").glob("references/*"))


def test_a_board_that_is_not_there_is_said_before_the_search(server):
    silent = replace(server.board, port=1)
    spec = {"runtime": "onnxruntime-cpu", "ssh": silent.address, "config": str(silent.config)}
    assert ":1" in str(backends.get(spec).unavailable())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ssh": "pi@board", "command": ["x", "{job}"]}, "by ssh or by a command, give one of them"),
        ({"python": "python3"}, "by ssh or by a command, give one of them"),
        ({"command": ["x", "{job}"], "python": "python3"}, "python is for boards over ssh"),
        ({"command": "x {job}"}, "give a list"),
        ({"ssh": "-oProxyCommand=x"}, "names no board"),
        ({"ssh": "pi@board", "resource": "jetson"}, "is on a board and on nodes of the cluster"),
        ({"ssh": "pi@board", "connect_timeout_s": -1}, "give seconds"),
        ({"ssh": "pi@board", "connect_timeout_s": "10"}, "give seconds"),
        ({"ssh": "pi@board", "python": 3}, "python of board .* is 3"),
        ({"ssh": "pi@board", "identity": 5}, "identity is 5, give a path"),
        ({"runtime": "qnn-htp", "ssh": "pi@board"}, "is used where the search runs"),
        ({"ssh": "pi@board", "meter": "rapl"}, "a meter is not read on a board"),
        ({"runtime": "tflite-micro", "ssh": "pi@board"}, "nothing is timed on it"),
    ],
)
def test_a_board_that_none_can_be(given, message):
    with pytest.raises(ValueError, match=message):
        backends.get({"name": "desk", "runtime": "onnxruntime-cpu", **given})


def test_a_key_that_is_missing_is_said(server):
    with pytest.raises(MissingFile, match="nowhere"):
        backends.get({"runtime": "torch-cpu", "ssh": "pi@board", "identity": "/nowhere/key"})
