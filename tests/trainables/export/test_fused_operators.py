"""What ONNX Runtime computes in integers of networks of eight bits, after all its fusions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from torch import fx
from zoo import NETWORKS, captured, uniform

from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.networks.operators import is_convolution
from raysearch.trainables.export import export_onnx
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers

POOLED = {"QLinearGlobalAveragePool": 1, "QGemm": 1}

# Operators in integers beside the convolutions, with how many there are. ORT has none for transposed ones.
WANTED: dict[str, dict[str, int]] = {
    "resnet": {"QLinearConv": 6, "QLinearAdd": 2, "NhwcMaxPool": 1, **POOLED},
    "inverted_residuals": {"QLinearConv": 8, "QLinearAdd": 2, **POOLED},
    "channel_shuffle": {"QLinearConv": 5, "QLinearConcat": 1, **POOLED},
    "densenet": {"QLinearConv": 4, "QLinearConcat": 2, "QLinearAveragePool": 1, **POOLED},
    "squeeze_excitation": {"QLinearConv": 4, "QLinearMul": 1, "QLinearGlobalAveragePool": 2, "QGemm": 1},
    "hard_swish": {"QLinearConv": 3, "QLinearMul": 2, **POOLED},
    "gated": {"QLinearConv": 1, "QLinearSigmoid": 1, "QLinearMul": 1, **POOLED},
    "conv1d_mean": {"QLinearConv": 2, **POOLED},
    "conv3d": {"QLinearConv": 2, "NhwcMaxPool": 1, **POOLED},
    "max_pools": {"QLinearConv": 2, "NhwcMaxPool": 2, "QGemm": 1},
    "u_net": {"QLinearConv": 3, "QLinearConcat": 1},
    "in_place": {"QLinearConv": 3, "QLinearAdd": 1, **POOLED},
    "twice": {"QLinearConv": 4, **POOLED},
    "norms_of_weights": {"QLinearConv": 3, **POOLED},
    "convnext": {"QLinearConv": 2, "MatMulIntegerToFloat": 2, "QGemm": 1},
    "token_mean": {"MatMulIntegerToFloat": 2, "QGemm": 1},
    "attention": {"MatMulIntegerToFloat": 3},  # in- and output projections, and one of its products
    "lstm": {"QGemm": 1},
    "one_number": {"QGemm": 2},
    "linear": {"QGemm": 1},
}
# Between its input and its outputs such a network computes nothing in float.
ENTIRELY = ("resnet", "inverted_residuals", "channel_shuffle", "gated", "conv1d_mean", "conv3d", "twice")


def quantized(name: str) -> fx.GraphModule:
    folded = fold_batch_norm(captured(name))
    module = insert_quantizers(folded, uniform(folded, 8, 8), weight_bits=OnnxRuntimeCpu().weight_bits())
    calibrate(module, [NETWORKS[name].inputs(16)])
    return module


def fused(module: fx.GraphModule, folder: Path) -> Counter[str]:
    """The operators that ONNX Runtime runs."""
    export_onnx(module, folder / "model.onnx")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


@pytest.mark.parametrize("name", WANTED)
def test_layers_and_what_joins_them_are_computed_in_integers(name: str, tmp_path: Path) -> None:
    module = quantized(name)
    found = fused(module, tmp_path)
    wanted = WANTED[name]
    assert {op: found[op] for op in wanted} == wanted
    assert found["QLinearConv"] == sum(is_convolution(node) for node in module.graph.nodes)
    if name in ENTIRELY:
        assert found["QuantizeLinear"] == 1
        assert not found["DequantizeLinear"]


def test_a_limit_is_left_to_the_integers(tmp_path: Path) -> None:
    """ReLU6 costs nothing: no Clip is left, and no integer lies above the limit."""
    module = quantized("inverted_residuals")
    found = fused(module, tmp_path)
    assert not found["Clip"]
    assert not [n for n in onnx.load(tmp_path / "model.onnx").graph.node if n.op_type == "CastLike"]
