"""What is not whole is no result, whatever a board gives back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from raysearch import backends
from raysearch.backends import boards
from raysearch.backends.base import MeasurementError
from raysearch.backends.boards import jobs
from raysearch.backends.protocol import Figures, Protocol
from raysearch.basics.failures import UserError

SPEC = {"runtime": "onnxruntime-cpu"}
SHORT = Protocol(max_s=0.3, warm_s=0.01)


@dataclass(frozen=True)
class Here:
    """This machine as a board, and what becomes of the result on its way."""

    spoil: Callable[[Path], object] = lambda folder: None
    name: str = "board here"

    def perform(self, folder: Path) -> None:
        # Temporary files of its own: others may hold this machine's device meanwhile.
        environment = {"TMPDIR": str(folder)}
        subprocess.run([sys.executable, folder / "raysearch.pyz", folder], check=True, env=environment)
        self.spoil(folder)


@pytest.fixture
def measure(export, images):
    def work(board) -> Figures:
        return boards.measure(board, SPEC, export(8), export(16), {"input": images[:1]}, SHORT)

    return work


@pytest.fixture
def run(export, images):
    def work(board) -> list:
        batches = [{"input": images[:5]}, {"input": images[5:6]}]
        return list(boards.run(board, SPEC, export(), batches))

    return work


def edit(**found) -> Callable[[Path], object]:
    """Changes a result's figures."""

    def spoil(folder: Path) -> None:
        result = json.loads((folder / "result.json").read_text())
        result["found"] |= found
        (folder / "result.json").write_text(json.dumps(result))

    return spoil


def test_figures_arrive_as_figures(measure):
    figures = measure(Here())
    assert isinstance(figures, Figures)
    assert figures.cpu_ms.dtype == figures.reference_ms.dtype == np.float64
    assert figures.ratio == np.median(figures.cpu_ms / figures.reference_ms)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "result.json").unlink(), "gave back no result"),
        (lambda folder: (folder / "result.json").write_text('{"id"'), "gave back no result"),
        (lambda folder: (folder / "result.json").write_text("[1]"), "gave back no result"),
        (lambda folder: (folder / "result.json").write_bytes(b"\xff"), "gave back no result"),
        (lambda folder: (folder / "result.json").write_text('{"id": "1", "found": {}}'), "of another job"),
        (edit(ratio=float("nan")), "gave back no whole figures: not all of them are finite"),
        (edit(ratio=-1), "gave back no whole figures"),
        (edit(cpu_ms=["fast"]), "gave back no whole figures"),
        (edit(noise=None), "gave back no whole figures"),
    ],
)
def test_a_result_that_is_not_whole_is_no_figure(measure, spoil, reason):
    with pytest.raises(MeasurementError, match=f"board here {reason}|board here .*{reason}"):
        measure(Here(spoil))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "outputs.npz").unlink(),
        lambda folder: (folder / "outputs.npz").write_bytes((folder / "outputs.npz").read_bytes()[:-1]),
        edit(outputs=None),
    ],
)
def test_outputs_that_are_not_whole_are_none(run, spoil):
    with pytest.raises(MeasurementError, match="board here gave back no whole outputs"):
        run(Here(spoil))
    assert [answers.shape for (answers,) in run(Here())] == [(5, 10), (1, 10)]


def test_batches_travel_in_chunks_of_a_bounded_size(monkeypatch):
    monkeypatch.setattr(jobs, "_CHUNK_BYTES", 100)
    feeds = [{"a": np.zeros(n, np.uint8)} for n in (60, 60, 10, 300, 5)]
    sizes = [[feed["a"].nbytes for feed in chunk] for chunk in jobs._chunks(iter(feeds))]
    assert sizes == [[60, 60], [10, 300], [5]]
    assert list(jobs._chunks([])) == []


def test_what_the_user_can_mend_is_said_before_any_work(export):
    none = Here(lambda folder: pytest.fail("it was started"))
    with pytest.raises(UserError, match="target 'onnxruntime-gpu' is unknown"):
        boards.describe(none, {"runtime": "onnxruntime-gpu"})
    with pytest.raises(UserError, match="has the option 'colour'"):
        boards.describe(none, {**SPEC, "colour": "red"})
    with pytest.raises(UserError, match=r"inputs \['input'\] cannot be sent to a board"):
        list(boards.run(none, SPEC, export(), [{"input": np.array([object()])}]))


def test_options_reach_the_backend_there():
    backend, options = jobs.backend_of({**SPEC, "threads": 2})
    assert backend == backends.get({"runtime": "onnxruntime-cpu", "threads": 2})
    assert type(backend)(**options) == backend


def test_torch_runs_on_a_board_too(export, images):
    example = {"input": images[:1]}
    (answers,) = next(boards.run(Here(), {"runtime": "torch-cpu"}, export(suffix=".pt2"), [example]))
    expected = backends.get("torch-cpu").load(export(suffix=".pt2"))(example)[0]
    np.testing.assert_allclose(answers, expected, atol=1e-6)
