"""Every kind of network is trained quantised, written, and found to compute the same where it runs."""

from __future__ import annotations

import random
from pathlib import Path

import onnx
import pytest
import torch
from torch import fx
from zoo import NETWORKS, captured, layers, uniform

from raysearch.backends.runtimes.nvidia.signed import objection
from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.networks import nests
from raysearch.networks.nests import Nest
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.export import export_onnx, export_torch
from raysearch.trainables.export.agreement import onnx_error, program_error
from raysearch.trainables.export.feeds import function_of
from raysearch.trainables.export.forms import float_form
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers

# ONNX Runtime itself makes 8 bits of float weights between integers: where their sums overflow, more is lost.
APART = 0.1 if OnnxRuntimeCpu().weight_bits() == 8 else 0.3
OTHERS = ((4, 4), (16, 16), (8, 32), (32, 8), (32, 32), None)


def plans(name: str, module: fx.GraphModule) -> list[BitWidthPlan]:
    """Eight bits; and other bits, or a mixture: each kind of network has one of them."""
    draw, names = random.Random(name), layers(module)
    mixed = BitWidthPlan(*({n: draw.choice([2, 4, 8, 16, 32]) for n in names} for _ in range(2)))
    other = OTHERS[list(NETWORKS).index(name) % len(OTHERS)]
    return [uniform(module, 8, 8), uniform(module, *other) if other else mixed]


def quantized(name: str, plan: BitWidthPlan) -> fx.GraphModule:
    module = fold_batch_norm(captured(name))
    if plan.quantized:
        module = insert_quantizers(module, plan, weight_bits=OnnxRuntimeCpu().weight_bits())
        calibrate(module, [NETWORKS[name].inputs(16)])
    return module


def all_learn(module: fx.GraphModule, inputs: Nest) -> bool:
    """Whether a step of training would reach every parameter."""
    module.train()
    outputs = [t for t in nests.tensors(nests.call(module, inputs)) if t.is_floating_point()]
    torch.stack([t.square().sum() for t in outputs]).sum().backward()
    found = [p.grad for p in module.parameters() if p.requires_grad]
    module.zero_grad()
    module.eval()
    return all(g is not None and bool(torch.isfinite(g).all()) for g in found)


def difference(wanted: Nest, given: Nest) -> float:
    """The largest, relative to each output's largest value."""
    pairs = zip(nests.tensors(wanted), nests.tensors(given), strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


SIGNED = ("resnet", "inverted_residuals", "gated", "squeeze_excitation", "attention", "tied_text", "u_net")


@pytest.mark.parametrize("name", SIGNED)
def test_signed_files_compute_what_the_quantised_network_does(name: str, tmp_path: Path) -> None:
    """Learnt steps, averages, limits and biases, below eight bits too, as ONNX Runtime runs the file."""
    folded, draw = fold_batch_norm(captured(name)), random.Random(name)
    bits = BitWidthPlan(*({n: draw.choice([2, 4, 8, 8, 16]) for n in layers(folded)} for _ in range(2)))
    module = insert_quantizers(folded, bits, unsigned_bits=7)
    calibrate(module, [NETWORKS[name].inputs(16)])
    for form in ("uint8", "int8"):
        export_onnx(module, tmp_path / "model.onnx", form)  # type: ignore[arg-type]
        assert onnx_error(module, tmp_path / "model.onnx", NETWORKS[name].inputs(5))[0] <= 1e-5
    assert objection(onnx.load(tmp_path / "model.onnx")) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_files_compute_what_the_quantised_network_does(name: str, tmp_path: Path) -> None:
    for plan in plans(name, captured(name)):
        module = quantized(name, plan)
        assert all_learn(module, NETWORKS[name].inputs(4))
        path = tmp_path / "model.onnx"
        export_onnx(module, path)
        assert onnx_error(module, path, NETWORKS[name].inputs(5))[0] <= 1e-5
        deployed = function_of(OnnxRuntimeCpu().load(path), outputs_of(module, NETWORKS[name].inputs(1)))
        for n in (1, 5):
            inputs = NETWORKS[name].inputs(n)
            assert difference(outputs_of(module, inputs), deployed(inputs)) < APART
        export_torch(module, tmp_path / "model.pt2")
        assert program_error(float_form(module), tmp_path / "model.pt2", NETWORKS[name].inputs(5))[0] <= 1e-6
