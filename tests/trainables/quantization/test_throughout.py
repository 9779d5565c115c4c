from __future__ import annotations

from pathlib import Path

import pytest
import torch
from zoo import NETWORKS, captured, uniform

from raysearch.networks import nests
from raysearch.networks.capture import capture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.export import export_litert, export_onnx
from raysearch.trainables.export.agreement import onnx_error
from raysearch.trainables.export.litert.agreement import litert_error
from raysearch.trainables.quantization import (
    Quantizer,
    calibrate,
    fold_batch_norm,
    insert_quantizers,
    rounded_throughout,
)
from raysearch.trainables.quantization.throughout import end_of, integer_operands, integer_quantizer


def quantized(name: str, weights: int = 8, activations: int = 8) -> torch.fx.GraphModule:
    folded = fold_batch_norm(captured(name))
    return insert_quantizers(folded, uniform(folded, weights, activations))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_that_reads_integers_gives_integers(name: str) -> None:
    module = rounded_throughout(quantized(name))
    for node in module.graph.nodes:
        if len(integer_operands(module, node)) == 2:
            assert all(integer_quantizer(module, user) for user in end_of(node).users)


def test_the_last_layer_is_rounded_and_the_given_module_stays() -> None:
    given = quantized("resnet")
    module = rounded_throughout(given)
    (output,) = module.graph.output_node().args[0]
    assert output.target == "quantize_linear_8"
    assert not hasattr(given, "quantize_linear_8")
    calibrate(module, [NETWORKS["resnet"].inputs(16)])
    calibrate(given, [NETWORKS["resnet"].inputs(16)])
    inputs = NETWORKS["resnet"].inputs(16)
    step = float(module.get_parameter("quantize_linear_8.scale"))
    apart = (outputs_of(module, inputs) - outputs_of(given, inputs)).abs().max()
    assert 0 < float(apart) <= 0.51 * step


def test_twice_is_once_and_floats_stay() -> None:
    once = rounded_throughout(quantized("resnet"))
    assert str(rounded_throughout(once).graph) == str(once.graph)
    floats = quantized("resnet", 32, 32)
    assert str(rounded_throughout(floats).graph) == str(floats.graph)


def test_low_bits_keep_their_own_quantisers() -> None:
    module = rounded_throughout(quantized("resnet", 4, 4))
    added = {n for n, m in module.named_modules() if isinstance(m, Quantizer) and n.endswith("_8")}
    assert added == {"quantize_linear_8"}


def test_other_forms_write_it_too(tmp_path: Path) -> None:
    module = rounded_throughout(quantized("token_mean"))
    calibrate(module, [NETWORKS["token_mean"].inputs(16)])
    export_onnx(module, tmp_path / "model.onnx")
    assert onnx_error(module, tmp_path / "model.onnx", NETWORKS["token_mean"].inputs(5))[0] < 1e-5


def test_all_of_it_learns() -> None:
    module = rounded_throughout(quantized("resnet"))
    calibrate(module, [NETWORKS["resnet"].inputs(16)])
    module.train()
    nests.call(module, NETWORKS["resnet"].inputs(4)).square().sum().backward()
    gradient = module.get_parameter("quantize_linear_8.scale").grad
    assert gradient is not None
    assert torch.isfinite(gradient)


def test_calibration_keeps_steps_above_what_sums_count_in() -> None:
    """Behind a ReLU that gives nothing but zeros, the smallest step would be chosen."""
    module = quantized("resnet")
    with torch.no_grad():
        module.get_parameter("0.0.bias").fill_(-1e6)
    calibrate(module, [NETWORKS["resnet"].inputs(16)])
    for node in module.graph.nodes:
        steps = [q.step().max() for q in integer_operands(module, node)]
        for user in end_of(node).users if len(steps) == 2 else ():
            if quantizer := integer_quantizer(module, user):
                assert float(steps[0] * steps[1] / quantizer.step()) <= 255.1


def test_no_plan_needs_it() -> None:
    folded = fold_batch_norm(captured("resnet"))
    module = insert_quantizers(folded, BitWidthPlan())
    assert str(rounded_throughout(module).graph) == str(module.graph)


class Joined(torch.nn.Module):
    """Parts of very different ranges, joined."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.small, self.large = torch.nn.Linear(8, 16), torch.nn.Linear(8, 16)
        torch.nn.init.normal_(self.small.weight, std=0.02)
        self.head = torch.nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([torch.relu(self.small(x)), torch.relu(self.large(x))], 1))


def test_what_is_joined_is_rounded_in_one_step() -> None:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norm(capture(Joined().eval(), x[:2]))
    module = rounded_throughout(insert_quantizers(folded, uniform(folded, 8, 8)))
    (whole,) = [n for n in module.graph.nodes if n.target is torch.ops.aten.cat.default]
    (reader,) = whole.users
    assert {part.target for part in whole.all_input_nodes} == {reader.target}
    calibrate(module, [x])
    joined = Joined().eval()
    fitted = float(module.get_submodule(reader.target).fit(torch.relu(joined.large(x))))
    assert float(module.get_submodule(reader.target).step()) >= 0.99 * fitted
    assert str(rounded_throughout(module).graph) == str(module.graph)


def test_a_file_of_joined_parts_computes_what_the_module_does(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norm(capture(Joined().eval(), x[:2]))
    module = rounded_throughout(insert_quantizers(folded, uniform(folded, 8, 8)))
    calibrate(module, [x])
    export_litert(module, tmp_path / "model.tflite")
    assert litert_error(module, tmp_path / "model.tflite", x)[0] <= 1e-4
    export_onnx(module, tmp_path / "model.onnx")
    assert onnx_error(module, tmp_path / "model.onnx", x)[0] <= 1e-4
