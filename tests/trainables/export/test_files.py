from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from raysearch.backends.graph import macs
from raysearch.trainables.quantization.forms import float_form
from torch import Tensor, fx, nn

from raysearch.backends.onnxruntime import OnnxRuntimeCpu
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.resnet import ResNetPlan
from raysearch.trainables.export import export_onnx, export_torch, onnx_exporter
from raysearch.trainables.export.agreement import TOLERANCE, onnx_error
from raysearch.trainables.quantization import Quantizer, calibrate, fold_batch_norm, insert_quantizers

Uniform = Callable[[int, int], BitWidthPlan]


@pytest.fixture
def quantized(network: nn.Module, inputs: Tensor) -> Callable[[BitWidthPlan], fx.GraphModule]:
    def make(plan: BitWidthPlan) -> fx.GraphModule:
        module = insert_quantizers(fold_batch_norm(network), plan)
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
    export_onnx(module, inputs, tmp_path / "model.onnx")
    error, _ = onnx_error(module, tmp_path / "model.onnx", inputs)
    assert error <= TOLERANCE / 10


@pytest.mark.parametrize("bits", [(8, 8), (4, 4)])
def test_a_uniform_plan_runs_in_integers_from_end_to_end(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path, bits: tuple[int, int]
) -> None:
    export_onnx(quantized(uniform(*bits)), inputs, tmp_path / "model.onnx")
    operators = _optimized(tmp_path / "model.onnx", tmp_path)
    integers = {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"}
    assert integers <= operators.keys()
    assert operators.keys() <= integers | {"QuantizeLinear", "Clip", "Transpose", "Reshape", "Flatten"}
    assert operators["QuantizeLinear"] == 1


def test_the_batch_is_dynamic_and_the_file_has_no_notes(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(quantized(uniform(8, 8)), inputs[:1], path)
    session = OnnxRuntimeCpu().load(path)
    for n in (1, 5):
        assert session(inputs[:n].numpy()).shape == (n, 10)
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
        export_onnx(quantized(uniform(bits, 32)), inputs, tmp_path / "model.onnx")
        model = onnx.load(tmp_path / "model.onnx")
        kinds[bits] = {t.data_type for t in model.graph.initializer if len(t.dims) == 4}
        assert not [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    types = onnx.TensorProto
    assert kinds == {8: {types.INT8}, 16: {types.FLOAT16}, 32: {types.FLOAT}}


def test_a_float_network_exports_through_the_same_functions(
    network: nn.Module, inputs: Tensor, tmp_path: Path
) -> None:
    folded = fold_batch_norm(network)
    export_onnx(folded, inputs, tmp_path / "model.onnx")
    export_torch(folded, inputs, tmp_path / "model.pt2")
    wanted = folded(inputs).detach().numpy()
    given = OnnxRuntimeCpu().load(tmp_path / "model.onnx")(inputs.numpy())
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)
    program = torch.export.load(str(tmp_path / "model.pt2"))
    assert torch.equal(program.module()(inputs[:3]), folded(inputs[:3]))


def test_the_torch_form_has_rounded_weights_and_no_quantisers(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    module = quantized(uniform(4, 4))
    plain = float_form(module)
    assert not [m for m in plain.modules() if isinstance(m, Quantizer)]
    assert len(plain.get_parameter("stem.conv.weight")[0].unique()) <= 15
    assert torch.equal(plain(inputs), quantized(uniform(4, 32))(inputs))
    export_torch(module, inputs[:1], tmp_path / "model.pt2")
    program = torch.export.load(str(tmp_path / "model.pt2"))
    assert torch.equal(program.module()(inputs), plain(inputs))


def test_exporting_changes_nothing_in_the_module(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    module = quantized(uniform(8, 8)).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    export_onnx(module, inputs, tmp_path / "model.onnx")
    export_torch(module, inputs, tmp_path / "model.pt2")
    assert module.training
    assert all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


class _Mean(nn.Module):
    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.conv, self.keepdim = nn.Conv2d(1, 3, 3), keepdim

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3), keepdim=self.keepdim)  # type: ignore[no-any-return]


@pytest.mark.parametrize("keepdim", [True, False])
def test_a_mean_over_height_and_width_is_global_pooling(tmp_path: Path, keepdim: bool) -> None:
    module, x = fold_batch_norm(_Mean(keepdim)), torch.randn(2, 1, 6, 6)
    export_onnx(module, x, tmp_path / "model.onnx")
    assert "GlobalAveragePool" in {n.op_type for n in onnx.load(tmp_path / "model.onnx").graph.node}
    given = OnnxRuntimeCpu().load(tmp_path / "model.onnx")(x.numpy())
    np.testing.assert_allclose(given, module(x).detach().numpy(), atol=1e-6)


class _Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.head = nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv(x))
        return self.head(x.view(x.size(0), -1))  # type: ignore[no-any-return]


def test_a_view_of_a_dynamic_batch_keeps_shapes_known(tmp_path: Path) -> None:
    export_onnx(_Flat().eval(), torch.rand(2, 1, 8, 8), tmp_path / "flat.onnx")
    assert macs(tmp_path / "flat.onnx") == 6 * 6 * 4 * 9 + 4 * 2
    assert OnnxRuntimeCpu().load(tmp_path / "flat.onnx")(np.zeros((3, 1, 8, 8), np.float32)).shape == (3, 2)


class _Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


class _Leaves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.numpy().sum())


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    x = torch.randn(2, 3)
    with pytest.raises(
        ValueError, match=r"layer '1': operator aten\.special_bessel_j0\.default has no ONNX form"
    ):
        export_onnx(nn.Sequential(nn.ReLU(), _Bessel()), x, tmp_path / "model.onnx")
    with pytest.raises(
        ValueError, match=r"layer '1 \(_Leaves\)' cannot be exported by torch.export: .*numpy"
    ):
        export_torch(nn.Sequential(nn.ReLU(), _Leaves()), x, tmp_path / "model.pt2")
    with pytest.raises(ValueError, match=r"form is 'int4'.*uint8"):
        export_onnx(nn.ReLU(), x, tmp_path / "model.onnx", form="int4")


def test_the_quick_exporter_writes_what_torchs_own_does(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = quantized(uniform(4, 8))
    export_onnx(module, inputs, tmp_path / "quick.onnx")
    monkeypatch.setattr(onnx_exporter, "_registration", None)
    export_onnx(module, inputs, tmp_path / "plain.onnx")
    quick, plain = (OnnxRuntimeCpu().load(tmp_path / f"{n}.onnx", optimize=False) for n in ("quick", "plain"))
    assert np.array_equal(quick(inputs.numpy()), plain(inputs.numpy()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_module_on_a_gpu_is_exported_from_a_copy(
    quantized: Make, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    module = quantized(uniform(8, 8))
    export_onnx(module, inputs, tmp_path / "cpu.onnx")
    export_onnx(module.cuda(), inputs.cuda(), tmp_path / "gpu.onnx")
    assert (tmp_path / "gpu.onnx").read_bytes() == (tmp_path / "cpu.onnx").read_bytes()
    assert next(module.parameters()).is_cuda
