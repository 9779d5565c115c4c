"""Models and tasks of one's own come through, and the benchmark that says so can fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import nn

from benchmarks.own_models import file_figures
from benchmarks.own_models.__main__ import main
from benchmarks.own_models.check import examine, search
from benchmarks.own_models.table import HEAD, row, table
from benchmarks.own_models.zoo import NAMES, case, described

MODELS = Path(__file__).parents[2] / "docs" / "models.md"
# One for each kind of data, of outputs and of targets; `python -m benchmarks.own_models` runs them all.
SEARCHED = ("recurrent_lengths", "flat_output")


@pytest.fixture(scope="module", params=SEARCHED)
def searched(request: pytest.FixtureRequest, cluster: None, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param) / "run"
    search(case(request.param), folder)
    return request.param, folder


@pytest.mark.slow
@pytest.mark.cluster
def test_it_is_searched_to_a_front_whose_figures_hold(searched) -> None:
    name, folder = searched
    findings = examine(case(name), folder)
    assert findings.wrong == []
    assert findings.finished >= 2
    assert findings.front >= 1


@pytest.mark.slow
@pytest.mark.cluster
def test_a_wrong_figure_is_found(searched, tmp_path: Path) -> None:
    name, folder = searched
    shutil.copytree(folder, tmp_path / "run")
    for file in ("front.csv", "trials.csv"):
        rows = pd.read_csv(folder / file, dtype={"trial": str})
        metric = case(name).objective.split()[1]
        rows[metric] += 0.02
        rows["params"] += 1
        rows.to_csv(tmp_path / "run" / file, index=False)
    wrong = " ".join(examine(case(name), tmp_path / "run").wrong)
    assert f"{metric} is" in wrong
    assert "params is" in wrong
    assert "macs is" not in wrong


def test_cases_are_the_same_each_time() -> None:
    first, second = case("lstm").task, case("lstm").task
    assert torch.equal(first.train.tensors[0], second.train.tensors[0])
    assert all(
        torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True)
    )


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lstn"])
    assert ended.value.code == 2
    assert "lstm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "x", "macs", "weights"),
    [
        (nn.Linear(5, 3), torch.zeros(1, 5), 15, 18),
        (nn.Conv2d(4, 6, 3, groups=2), torch.zeros(1, 4, 5, 5), 9 * 6 * 2 * 9, 6 * 2 * 9 + 6),
        (nn.ConvTranspose1d(2, 3, 2, stride=2), torch.zeros(1, 2, 7), 7 * 2 * 3 * 2, 15),
    ],
    ids=["linear", "grouped", "transposed"],
)
def test_figures_of_a_file(
    model: nn.Module, x: torch.Tensor, macs: int, weights: int, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    torch.onnx.export(model.eval(), (x,), str(path), dynamo=True, verbose=False)
    (name,) = [value.name for value in onnx.load(path).graph.input]
    assert file_figures.macs(path, {name: x.numpy()}) == macs
    assert sum(array.size for array in file_figures.weights(path).values()) == weights


def save(path: Path, node: NodeProto, inputs: list[ValueInfoProto], tensors: dict[str, np.ndarray]) -> Path:
    outputs = [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)]
    held = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = helper.make_graph([node], "graph", inputs, outputs, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_a_recurrent_layer_multiplies_at_each_step(tmp_path: Path) -> None:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4)
    tensors = {"w": np.ones((1, 16, 3), np.float32), "r": np.ones((1, 16, 4), np.float32)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [6, 1, 3])
    path = save(tmp_path / "model.onnx", node, [x], tensors)
    assert file_figures.macs(path, {"x": np.zeros((6, 1, 3), np.float32)}) == 6 * (16 * 3 + 16 * 4)


def test_steps_and_zero_points_are_no_weights(tmp_path: Path) -> None:
    tensors = {"w": np.ones((2, 3), np.int8), "step": np.ones(2, np.float32), "zero": np.zeros(2, np.int8)}
    node = helper.make_node("DequantizeLinear", list(tensors), ["y"], axis=0)
    assert list(file_figures.weights(save(tmp_path / "model.onnx", node, [], tensors))) == ["w"]


def test_the_page_has_the_table() -> None:
    text = MODELS.read_text(encoding="utf-8")
    lines = (HEAD + text.partition(HEAD)[2]).splitlines()[2 : 2 + len(NAMES)]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == [described(n) for n in NAMES]
    command = "python -m benchmarks.own_models.table"
    for name in (*SEARCHED, "lstm"):
        assert row(name) in text, f"the table of docs/models.md changed: put in what `{command}` prints"
    assert table(["flat_output"]) == HEAD + row("flat_output")
