"""The commands targets and measure, as a user calls them."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from raysearch.backends import files
from raysearch.backends.base import MeasurementError
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.service import MeasurementService
from raysearch.cli.main import app

QUICK = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0, settle_ms=0.5, block_ms=0.5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "line.onnx"
    batch = {0: torch.export.Dim("batch")}
    x = torch.zeros(2, 8)
    torch.onnx.export(
        nn.Linear(8, 8).eval(), (x,), str(path), dynamo=True, dynamic_shapes=(batch,), verbose=False
    )
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MeasurementService", lambda: MeasurementService(QUICK))


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_targets_are_listed_with_what_is_known_of_them() -> None:
    code, text = call("targets", "--json")
    rows = {row["target"]: row for row in json.loads(text)}
    assert code == 0
    ours = rows["onnxruntime-cpu"]
    assert ours["available"]
    assert (ours["latency"], ours["integers"]) == ("measured", [2, 4, 8])
    assert {"runtime", "version", "device", "options"} <= ours.keys()
    assert all(row["available"] or row["reason"] for row in rows.values())
    code, text = call("targets")
    assert code == 0
    assert "onnxruntime-cpu" in text


def test_a_target_that_is_missing_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.backends.runtimes.torch.Torch.unavailable", lambda self: "pip install it")
    assert "torch-cpu: not available: pip install it" in call("targets")[1]


def test_a_file_is_measured_at_several_batches(model: Path) -> None:
    code, text = call("measure", str(model), "-t", "onnxruntime-cpu", "--batch", "1,4", "--json")
    assert code == 0
    assert [row["batch"] for row in json.loads(text)] == [1, 4]
    code, text = call("measure", str(model), "-t", "{name: two, runtime: onnxruntime-cpu, threads: 2}")
    assert code == 0
    assert "two" in text
    assert "inputs/s" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-t", "onnxruntime-gpu"], 2, "did you mean 'onnxruntime-cpu'"),
        (["-t", "onnxruntime-cpu", "--batch", "1,x"], 2, "--batch is '1,x': give whole numbers"),
        (["-t", "onnxruntime-cpu", "--shape", "x"], 2, "--shape is 'x': give an input's name"),
        (["-t", "{runtime: onnxruntime-cpu, thread: 1}"], 2, "did you mean 'threads'"),
        (["-t", "torch-cpu", "-t", "torch-cpu"], 2, "--target names torch-cpu twice"),
        (["-t", "{runtime: onnxruntime-cpu"], 2, "--target is not YAML"),
    ],
)
def test_a_mistake_is_one_sentence(model: Path, arguments: list[str], code: int, message: str) -> None:
    found, text = call("measure", str(model), *arguments)
    assert (found, len(text.strip().splitlines())) == (code, 1)
    assert message in text


def test_what_one_target_refuses_costs_no_other_its_figures(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, path: Path, **_: object) -> None:
        raise MeasurementError(f"openvino-cpu cannot load {path.name}")

    monkeypatch.setattr("raysearch.backends.runtimes.openvino.OpenVino.load", refuse)
    monkeypatch.setattr("raysearch.backends.runtimes.openvino.OpenVino.unavailable", lambda self: None)
    monkeypatch.setattr("raysearch.backends.runtimes.openvino.OpenVino.version", lambda self: "1")
    code, text = call("measure", str(model), "-t", "openvino-cpu", "-t", "onnxruntime-cpu")
    assert code == 1
    assert "openvino-cpu cannot load" in text
    assert "measured" in text


def test_another_packages_broken_target_costs_no_other_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken-npu", "my_npu.nothing:X", "raysearch.targets")
    monkeypatch.setattr("raysearch.backends._others", lambda: {"broken-npu": broken})
    code, text = call("targets")
    assert code == 0
    assert "broken-npu: not available: target 'broken-npu' cannot be imported: No module named" in text
    assert "onnxruntime-cpu" in text
