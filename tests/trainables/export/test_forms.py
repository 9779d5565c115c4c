"""What a network becomes in a file: averages, norms, splits, limits, float16 weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto
from torch import Tensor, fx, nn
from zoo import Net, captured, uniform

from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.networks.capture import capture
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.forms import float_form
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers


def written(module: fx.GraphModule, folder: Path) -> onnx.ModelProto:
    export_onnx(module, folder / "model.onnx")
    return onnx.load(folder / "model.onnx")


def assert_same(module: fx.GraphModule, x: Tensor, folder: Path) -> list[str]:
    """The file gives what the module does; its operators."""
    model = written(module, folder)
    (given,) = OnnxRuntimeCpu().load(folder / "model.onnx", optimize=False)({"input": x.numpy()})
    np.testing.assert_allclose(given, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("run", "shape", "pooled"),
    [
        (lambda _, x: x.mean((2, 3)), (3, 4, 5), True),
        (lambda _, x: x.mean((2, 3), keepdim=True), (3, 4, 5), True),
        (lambda _, x: F.adaptive_avg_pool2d(x, 1), (3, 4, 5), True),
        (lambda _, x: x.mean(-1), (3, 4), True),
        (lambda _, x: x.mean((2, 3, 4)), (3, 4, 2, 2), True),
        (lambda _, x: x.mean((-2, -1)), (3, 4), False),
        (lambda _, x: x.mean((-2, -1)), (3, 4, 2, 2), False),
    ],
)
def test_an_average_over_all_positions_is_global_pooling(
    run: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...], pooled: bool, tmp_path: Path
) -> None:
    x = torch.randn(3, *shape)
    assert ("GlobalAveragePool" in assert_same(capture(Net(run), x), x, tmp_path)) is pooled


@pytest.mark.parametrize(
    ("pool", "parts", "shape", "plain"),
    [
        (F.adaptive_avg_pool2d, (2, 3), (3, 4, 6), True),
        (F.adaptive_avg_pool2d, (4, 6), (3, 4, 6), True),
        (F.adaptive_avg_pool1d, 2, (3, 8), True),
        (F.adaptive_avg_pool3d, 2, (3, 4, 6, 2), True),
        (F.adaptive_avg_pool2d, (3, 3), (3, 4, 6), False),
        (F.adaptive_avg_pool2d, (7, 7), (3, 2, 2), False),
    ],
)
def test_an_average_over_windows_of_one_size_is_plain_pooling(
    pool: Callable[[Tensor, Any], Tensor], parts: Any, shape: tuple[int, ...], plain: bool, tmp_path: Path
) -> None:
    x = torch.randn(3, *shape)
    operators = assert_same(capture(Net(lambda _, x: pool(x, parts)), x), x, tmp_path)
    assert ("AveragePool" in operators) is plain
    if plain:
        assert len(operators) == 1


@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_that_follows_no_layer_is_one_operator(affine: bool, tmp_path: Path) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, affine=affine, eps=0.01)).eval()
    model[0].running_var.fill_(2.0)
    model[0].running_mean.fill_(0.5)
    x = torch.randn(3, 3, 4, 4)
    assert assert_same(capture(model, x), x, tmp_path) == ["BatchNormalization"]


def test_a_norm_of_each_batch_is_written(tmp_path: Path) -> None:
    x = torch.randn(5, 3, 4, 4)
    assert_same(capture(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).eval(), x), x, tmp_path)


def test_parts_along_an_axis_are_split_at_once(tmp_path: Path) -> None:
    x = torch.randn(3, 6, 4)
    net = Net(lambda _, x: (p := x.split([1, 2, 3], 1))[0] * p[1][:, :1] + p[2][:, 2:])
    assert assert_same(capture(net, x), x, tmp_path).count("Split") == 1


def test_the_signed_form_is_clipped_in_float_and_has_its_biases_in_float(tmp_path: Path) -> None:
    folded = fold_batch_norm(captured("resnet"))
    module = insert_quantizers(folded, uniform(folded, 8, 4), unsigned_bits=7)
    calibrate(module, [torch.randn(8, 3, 12, 12)])
    export_onnx(module, tmp_path / "model.onnx", "int8")
    graph = onnx.load(tmp_path / "model.onnx").graph
    given = {name: node.op_type for node in graph.node for name in node.output}
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            assert given[node.input[0]] == "Clip"
            assert kinds[node.input[2]] == TensorProto.INT8
        elif node.op_type == "DequantizeLinear" and node.input[0] in given:
            assert given[node.input[0]] == "QuantizeLinear"
        elif node.op_type in ("Conv", "Gemm"):
            assert kinds[node.input[2]] == TensorProto.FLOAT
    assert TensorProto.INT32 not in kinds.values()


def test_a_limit_stays_before_signed_integers(tmp_path: Path) -> None:
    """The quantiser alone would let negative values through."""
    net = Net(lambda m, x: m.two(F.relu6(m.one(x))), one=nn.Conv2d(3, 4, 1), two=nn.Conv2d(4, 2, 1))
    x = 10 * torch.randn(4, 3, 5, 5)
    folded = capture(net, x)
    module = insert_quantizers(folded, uniform(folded, 8, 8), unsigned_bits=7)
    calibrate(module, [x])
    export_onnx(module, tmp_path / "model.onnx", "int8")
    (given,) = OnnxRuntimeCpu().load(tmp_path / "model.onnx", optimize=False)({"input": x.numpy()})
    np.testing.assert_allclose(given, module(x).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_integers_that_signed_bytes_do_not_hold_are_refused(tmp_path: Path) -> None:
    module = insert_quantizers(captured("resnet"), uniform(captured("resnet"), 8, 8))
    with pytest.raises(ValueError, match=r"integers up to 255 do not fit in int8.*unsigned_bits=7"):
        export_onnx(module, tmp_path / "model.onnx", "int8")


def test_weights_of_sixteen_bits_are_float16(tmp_path: Path) -> None:
    module = captured("resnet")
    half = insert_quantizers(module, uniform(module, 16, 32))
    kinds = {t.data_type for t in written(half, tmp_path).graph.initializer if len(t.dims) == 4}
    assert kinds == {TensorProto.FLOAT16}


def test_the_float_form_has_rounded_weights_and_nothing_else_of_the_quantisers() -> None:
    module = captured("tied_text")
    quantized = insert_quantizers(module, uniform(module, 4, 4))
    calibrate(quantized, [torch.randint(0, 11, (4, 6))])
    plain = float_form(quantized)
    assert set(plain.state_dict()) == set(module.state_dict())
    assert not [n for n in plain.graph.nodes if n.op == "call_module"]
    assert len(plain.get_parameter("table.weight").unique()) <= 15
    assert torch.equal(plain.get_parameter("hidden.bias"), module.get_parameter("hidden.bias"))
