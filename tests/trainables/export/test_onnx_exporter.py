"""The exporter without repeated work writes the same files."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from raysearch.trainables.export import onnx_exporter
from raysearch.trainables.export.onnx_exporter import without_repeated_work

registration = pytest.importorskip("torch.onnx._internal.exporter._registration")


class Decomposed(nn.Module):
    """Has an operator that no ONNX operator stands for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.xlog1py(x, x) + torch.nn.functional.huber_loss(x, x + 1)


def exported(module: nn.Module, path: Path, *, quickly: bool) -> onnx.ModelProto:
    program = torch.export.export(module.eval(), (torch.ones(2, 3, 8, 8),))
    if quickly:
        with without_repeated_work(program):
            torch.onnx.export(program, f=path, dynamo=True, verbose=False)
    else:
        torch.onnx.export(program, f=path, dynamo=True, verbose=False)
    return onnx.load(path)


def written(model: onnx.ModelProto) -> list[tuple[str, list[str]]]:
    return [(node.op_type, sorted(a.name for a in node.attribute)) for node in model.graph.node]


@pytest.mark.parametrize("module", [nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), Decomposed()])
def test_it_writes_what_the_exporter_writes_by_itself(module: nn.Module, tmp_path: Path) -> None:
    plain = exported(module, tmp_path / "plain.onnx", quickly=False)
    assert written(exported(module, tmp_path / "quick.onnx", quickly=True)) == written(plain)


def test_one_registry_serves_all_exports_and_the_exporter_is_left_as_it_was(tmp_path: Path) -> None:
    before = registration.ONNXRegistry.from_torchlib
    with without_repeated_work(torch.export.export(nn.ReLU(), (torch.ones(2),))):
        first, second = (registration.ONNXRegistry.from_torchlib(opset_version=18) for _ in range(2))
        assert first is second
    assert registration.ONNXRegistry.from_torchlib == before


@pytest.mark.parametrize(
    ("module", "ready"), [(nn.Conv2d(3, 4, 3), True), (Decomposed(), False), (nn.ReLU(inplace=True), False)]
)
def test_what_has_an_onnx_form_and_writes_nowhere_is_not_decomposed(module: nn.Module, ready: bool) -> None:
    program = torch.export.export(module, (torch.ones(2, 3, 8, 8),))
    assert onnx_exporter._needs_nothing(program, onnx_exporter._known(18)) == ready
