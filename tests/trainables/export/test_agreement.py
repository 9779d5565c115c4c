from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, fx, nn
from torch.utils.data import TensorDataset

from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.backends.runtimes.torch import Torch
from raysearch.networks.capture import capture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.export import export_onnx, export_torch
from raysearch.trainables.export.agreement import (
    ExportDisagreement,
    check_agreement,
    onnx_error,
)
from raysearch.trainables.quantization import calibrate, insert_quantizers

Uniform = Callable[[int, int], BitWidthPlan]


@pytest.fixture
def module(folded: fx.GraphModule, uniform: Uniform, inputs: Tensor) -> fx.GraphModule:
    quantized = insert_quantizers(folded, uniform(8, 8), weight_bits=OnnxRuntimeCpu().weight_bits())
    calibrate(quantized, [inputs])
    return quantized


@pytest.fixture
def data(inputs: Tensor) -> TensorDataset:
    return TensorDataset(inputs, torch.zeros(len(inputs), dtype=torch.long))


def _scaled(path: Path, name: str, factor: float) -> None:
    """Change a constant of a file, as an exporter's mistake would."""
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), name))
    onnx.save(model, path)


def test_a_right_file_passes_on_both_targets(
    module: fx.GraphModule, data: TensorDataset, tmp_path: Path
) -> None:
    export_onnx(module, tmp_path / "model.onnx")
    export_torch(module, tmp_path / "model.pt2")
    found = check_agreement(module, tmp_path / "model.onnx", OnnxRuntimeCpu(), data)
    ((outputs, targets),) = found.predicted
    assert outputs.shape == (len(data), 10)
    assert torch.equal(targets, data.tensors[1])
    assert found.error < 1e-6
    assert found.top1 is not None
    assert found.top1 >= 0.99
    assert found.remark("onnxruntime-cpu") is None
    program = check_agreement(module, tmp_path / "model.pt2", Torch(), data)
    assert program.error == 0.0
    assert (program.ties, program.top1) == (0, 1.0)


def test_wrong_weights_are_found(module: fx.GraphModule, data: TensorDataset, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(module, path)
    _scaled(path, "head.weight_quantizer_step", 1.002)
    with pytest.raises(
        ExportDisagreement, match=r"does not compute what the module does: outputs differ by \d"
    ):
        check_agreement(module, path, OnnxRuntimeCpu(), data)


def test_a_rounding_that_is_no_tie_is_found_and_named(
    module: fx.GraphModule, data: TensorDataset, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(module, path)
    _scaled(path, "quantize_relu_8_step", 1.01)
    with pytest.raises(
        ExportDisagreement, match="quantize_relu_8: the file's rounded values differ by up to"
    ):
        onnx_error(module, path, data[:][0])


def test_values_between_two_steps_may_go_either_way(
    module: fx.GraphModule, inputs: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    # On a tie, the last bit of the division decides which way a value goes.
    step = float(module.get_parameter("quantize_x_8.scale"))
    tied = (torch.round(inputs / step) + 0.5) * step
    export_onnx(module, path)
    assert onnx_error(module, path, tied)[0] < 1e-6
    module.get_parameter("quantize_x_8.scale").data.mul_(1 + 2e-7)
    error, ties = onnx_error(module, path, tied)
    assert error < 1e-5
    assert ties > 0


class _Deployed:
    """A session that prefers another class for some of its inputs."""

    def __init__(self, module: nn.Module, wrong: int) -> None:
        self.module, self.wrong = module, wrong

    def __call__(self, feed: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32]]:
        (batch,) = feed.values()
        logits: NDArray[np.float32] = self.module(torch.from_numpy(batch)).detach().numpy().copy()
        logits[: self.wrong] *= -1
        return (logits,)


class _Backend(OnnxRuntimeCpu):
    def __init__(self, module: nn.Module, wrong: int) -> None:
        self.session = _Deployed(module, wrong)

    def load(self, path: Path, *, optimize: bool = True) -> _Deployed:  # type: ignore[override]
        return self.session


def test_a_deployed_session_with_other_classes_is_remarked_on(
    module: fx.GraphModule, data: TensorDataset, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(module, path)
    same = check_agreement(module, path, _Backend(module, 0), data)  # type: ignore[arg-type]
    assert same.top1 == 1.0
    other = check_agreement(module, path, _Backend(module, 2), data)  # type: ignore[arg-type]
    assert other.top1 == pytest.approx(30 / 32)
    assert other.remark("here") == "here's optimisations change 6.2% of the predicted classes"


def test_classes_are_compared_only_where_targets_are_classes(
    module: fx.GraphModule, inputs: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(module, path)
    numbers = TensorDataset(inputs, torch.zeros(len(inputs), 10))
    found = check_agreement(module, path, _Backend(module, 32), numbers)  # type: ignore[arg-type]
    assert found.top1 is None
    assert found.remark("here") is None


def test_logits_that_are_no_numbers_are_refused(
    module: fx.GraphModule, data: TensorDataset, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    module.get_parameter("head.weight").data.fill_(float("nan"))
    export_onnx(module, path)
    with pytest.raises(ExportDisagreement):
        check_agreement(module, path, OnnxRuntimeCpu(), data)


class _Shrunk(nn.Module):
    """Its activation has no ONNX form, and is taken apart with the whole graph."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.hardshrink(self.conv(x), 0.1).mean((2, 3)))


def test_what_is_rounded_keeps_its_name_where_the_exporter_takes_operators_apart(tmp_path: Path) -> None:
    images = torch.rand(8, 3, 6, 6)
    bits = {"conv": 8, "head": 8}
    module = insert_quantizers(capture(_Shrunk(), images), BitWidthPlan(bits, bits))
    calibrate(module, [images])
    export_onnx(module, tmp_path / "model.onnx")
    error, _ = onnx_error(module, tmp_path / "model.onnx", images)
    assert error < 1e-5


def test_logits_that_are_masked_by_an_infinity_agree(tmp_path: Path) -> None:
    class Masked(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).masked_fill(torch.tensor([True, False]), -torch.inf)

    x = torch.randn(4, 3)
    module = capture(Masked(3, 2), x)
    export_onnx(module, tmp_path / "model.onnx")
    error, _ = onnx_error(module, tmp_path / "model.onnx", x)
    assert error < 1e-6
    other = capture(nn.Sequential(nn.Linear(3, 2)), x)
    assert not onnx_error(other, tmp_path / "model.onnx", x)[0] <= 1e-4
