from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, fx, nn

from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.networks.capture import capture
from raysearch.search_spaces.architectures.resnet import ResNetPlan
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.export import export_onnx, export_torch
from raysearch.trainables.export.agreement import TOLERANCE, onnx_error
from raysearch.trainables.quantization import calibrate, insert_quantizers

Uniform = Callable[[int, int], BitWidthPlan]


@pytest.fixture
def quantized(folded: fx.GraphModule, inputs: Tensor) -> Callable[[BitWidthPlan], fx.GraphModule]:
    def make(plan: BitWidthPlan) -> fx.GraphModule:
        module = insert_quantizers(folded, plan, weight_bits=OnnxRuntimeCpu().weight_bits())
        calibrate(module, [inputs])
        return module

    return make


Make = Callable[[BitWidthPlan], fx.GraphModule]


def _optimized(path: Path, folder: Path) -> Counter[str]:
    """The operators that ONNX Runtime runs after all its fusions."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


@pytest.mark.parametrize("seed", range(6))
def test_mixed_plans_are_exact(
    quantized: Make, resnet_plan: ResNetPlan, inputs: Tensor, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    parts = resnet_plan.parts()
    module = quantized(
        BitWidthPlan(
            {p: draw.choice([2, 4, 8, 16, 32]) for p in parts},
            {p: draw.choice([2, 4, 8, 16, 32]) for p in parts},
        )
    )
    export_onnx(module, tmp_path / "model.onnx")
    error, _ = onnx_error(module, tmp_path / "model.onnx", inputs)
    assert error <= TOLERANCE / 10


@pytest.mark.parametrize("bits", [(8, 8), (4, 4)])
def test_a_uniform_plan_runs_in_integers_from_end_to_end(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path, bits: tuple[int, int]
) -> None:
    export_onnx(quantized(uniform(*bits)), tmp_path / "model.onnx")
    operators = _optimized(tmp_path / "model.onnx", tmp_path)
    integers = {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"}
    assert integers <= operators.keys()
    assert operators.keys() <= integers | {"QuantizeLinear", "Clip", "Transpose", "Reshape", "Flatten"}
    assert operators["QuantizeLinear"] == 1


def test_the_batch_is_dynamic_and_the_file_has_no_notes(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(quantized(uniform(8, 8)), path)
    session = OnnxRuntimeCpu().load(path)
    for n in (1, 5):
        assert session({"input": inputs[:n].numpy()})[0].shape == (n, 10)
    model = onnx.load(path)
    assert {o.version for o in model.opset_import if not o.domain} == {21}
    assert not any(n.metadata_props or n.doc_string for n in model.graph.node)
    assert not model.graph.value_info
    onnx.checker.check_model(model, full_check=True)


def test_weights_keep_the_types_of_their_bits(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    kinds = {}
    for bits in (8, 16, 32):
        export_onnx(quantized(uniform(bits, 32)), tmp_path / "model.onnx")
        model = onnx.load(tmp_path / "model.onnx")
        kinds[bits] = {t.data_type for t in model.graph.initializer if len(t.dims) == 4}
        assert not [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    types = onnx.TensorProto
    assert kinds == {8: {types.INT8}, 16: {types.FLOAT16}, 32: {types.FLOAT}}


def test_a_float_network_exports_through_the_same_functions(
    folded: fx.GraphModule, inputs: Tensor, tmp_path: Path
) -> None:
    export_onnx(folded, tmp_path / "model.onnx")
    export_torch(folded, tmp_path / "model.pt2")
    wanted = folded(inputs).detach().numpy()
    (given,) = OnnxRuntimeCpu().load(tmp_path / "model.onnx")({"input": inputs.numpy()})
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)
    program = torch.export.load(str(tmp_path / "model.pt2"))
    assert torch.equal(program.module()(inputs[:3]), folded(inputs[:3]))


def test_a_torch_program_has_rounded_weights_and_no_quantisers(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    export_torch(quantized(uniform(4, 4)), tmp_path / "model.pt2")
    program = torch.export.load(str(tmp_path / "model.pt2"))
    assert not [n for n in program.state_dict if "quantize" in n]
    assert len(program.state_dict["stem.conv.weight"][0].unique()) <= 15
    assert torch.equal(program.module()(inputs), quantized(uniform(4, 32))(inputs))


def test_exporting_changes_nothing_in_the_module(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    module = quantized(uniform(8, 8)).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    export_onnx(module, tmp_path / "model.onnx")
    export_torch(module, tmp_path / "model.pt2")
    assert module.training
    assert all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


class _Computes(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.special.bessel_j0, r"layer '1': operator aten\.special_bessel_j0\.default has no ONNX form"),
        (torch.erfinv, r"layer '1': operator aten\.erfinv\.default has no ONNX form"),
        (lambda x: torch.cdist(x[..., None], x[..., None]), r"layer '1': operator aten\.cdist\.default has"),
        (lambda x: torch.histc(x, 3), r"cannot be written as ONNX: NotImplementedError: aten_histc"),
    ],
)
def test_what_cannot_be_exported_is_named(
    function: Callable[[Tensor], Tensor], message: str, tmp_path: Path
) -> None:
    captured = capture(nn.Sequential(nn.ReLU(), _Computes(function)), torch.randn(2, 3))
    with pytest.raises(ValueError, match=message):
        export_onnx(captured, tmp_path / "model.onnx")


def test_axes_that_vary_are_called_by_their_names(tmp_path: Path) -> None:
    class Both(nn.Module):
        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            return torch.cat([ids * mask, ids], 1)

    inputs = {"ids": torch.randn(2, 5), "mask": torch.ones(2, 5)}
    varying = {"ids": {1: "length"}, "mask": {1: "length"}}
    export_onnx(capture(Both(), inputs, varying), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    shapes = [[d.dim_param for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert shapes == [["batch", "length"], ["batch", "length"], ["batch", "2*length"]]
