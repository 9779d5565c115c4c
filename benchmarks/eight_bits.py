"""Networks at eight bits in ONNX Runtime: ours, its own static quantisation, and float, side by side.

Purpose: our explicit Q/DQ must let a runtime fuse what it can. For each network, with random weights: the
parent's float file, the form that ONNX Runtime's static quantiser makes of it (uint8 activations, int8
weights per channel), and ours with every layer at 8/8, calibrated on the same images. Latencies are paired
ratios in one process under the measurement protocol, one thread; the order of the pairs changes with the
seed.

"NAME/static" is our time as a share of the static form's, "NAME/float" as a share of float's; the median over
seeds. "NAME/fused" is the share of layers with weights that ONNX Runtime computes in integers.

Acceptance: never slower than 1.05 x the static form.

Table: none. Needs torchvision. ``--size`` is the images' side.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx, nn

from benchmarks.common import arguments, report
from raysearch.backends.measurement.protocol import Inference, Protocol, measure
from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.backends.static_int8 import static_int8
from raysearch.basics import extras
from raysearch.networks.capture import capture
from raysearch.networks.operators import layer_name, layer_of
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers

NAME = "eight_bits"
NETWORKS = (
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "shufflenet_v2_x1_0",
    "convnext_tiny",
    "vit_b_16",
)
INTEGERS = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "MatMulInteger")


def network(name: str, size: int, classes: int = 100) -> nn.Module:
    """A network of torchvision with random weights, in evaluation mode, whose batch norms have seen noise.

    No part of it is left at a start that hides others (a head of zeros, branches scaled by 1e-6).

    Args:
        name: torchvision's.
        size: the images' side in pixels, which some transformers are built for.
        classes: that it tells apart.
    """
    models = extras.load("torchvision.models", "vision")
    torch.manual_seed(0)
    options: dict[str, Any] = {"image_size": size} if name.startswith("vit") else {}
    options |= {"input_size": (size, size)} if name.startswith("maxvit") else {}
    options |= {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options).eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.train()
        for _ in range(4 if norms else 0):
            model(torch.randn(8, 3, size, size))
        for parameter, value in model.named_parameters():
            if parameter.startswith("heads.") and parameter.endswith(".weight"):
                value.normal_(0, 0.02)
            elif parameter.endswith("layer_scale"):
                value.fill_(0.1)
    return model.eval()


def at_eight_bits(folded: fx.GraphModule, images: Tensor) -> fx.GraphModule:
    """A captured network with every layer at 8/8, calibrated on images (n, 3, size, size) in eights."""
    bits = dict.fromkeys(layers_of(folded), 8)
    quantized = insert_quantizers(
        folded, BitWidthPlan(bits, bits), weight_bits=OnnxRuntimeCpu().weight_bits()
    )
    calibrate(quantized, images.split(8))
    return quantized


def layers_of(captured: fx.GraphModule) -> list[str]:
    """The names of the layers that multiply by weights."""
    found = ((node, layer_of(node)) for node in captured.graph.nodes)
    return list(dict.fromkeys(layer_name(node, layer) for node, layer in found if layer is not None))


def forms(name: str, size: int, folder: Path) -> dict[str, Path]:
    """The three files of a network."""
    model, images = network(name, size), torch.randn(16, 3, size, size)
    paths = {form: folder / f"{name}-{form}.onnx" for form in ("float", "static", "ours")}
    folded = fold_batch_norm(capture(model, images[:2]))
    export_onnx(folded, paths["float"])
    static_int8(
        paths["float"],
        [feed_of(images[i : i + 8]) for i in (0, 8)],
        paths["static"],
        weight_bits=OnnxRuntimeCpu().weight_bits(),
    )
    export_onnx(at_eight_bits(folded, images), paths["ours"])
    return paths


def fused(path: Path) -> tuple[float, Counter[str]]:
    """The share of layers with weights that run in integers, and all operators that ONNX Runtime runs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    optimized = path.with_suffix(".optimized")
    options.optimized_model_filepath, options.log_severity_level = str(optimized), 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(str(optimized)).graph.node)
    integer = sum(operators[o] for o in INTEGERS)
    floating = sum(operators[o] for o in ("Conv", "FusedConv", "Gemm", "MatMul", "FusedMatMul", "FusedGemm"))
    return integer / max(1, integer + floating), operators


def ratio(candidate: Path, reference: Path, size: int) -> float:
    """The paired ratio of two files' latencies."""
    feed = feed_of(torch.randn(1, 3, size, size))
    runs: list[Inference] = [OnnxRuntimeCpu().load(path).runner(feed) for path in (candidate, reference)]
    return measure(runs[0], runs[1], Protocol(max_s=4.0)).ratio


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__, seeds=3)
    parser.add_argument("--size", type=int, default=224, help="pixels of the images' side (default 224)")
    parser.add_argument("--networks", nargs="*", default=NETWORKS, help="torchvision's names")
    given = parser.parse_args(argv)
    figures: dict[str, float] = {}
    print(f"{'':20}{'of static':>12}{'of float':>12}{'static/float':>14}{'fused':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.networks:
            paths = forms(name, given.size, Path(folder))
            pairs = {"static": ("ours", "static"), "float": ("ours", "float"), "peer": ("static", "float")}
            found = {
                key: [ratio(paths[a], paths[b], given.size) for _ in range(given.seeds)]
                for key, (a, b) in pairs.items()
            }
            middle = {key: float(np.median(values)) for key, values in found.items()}
            share, operators = fused(paths["ours"])
            figures |= {
                f"{name}/static": round(middle["static"], 3),
                f"{name}/float": round(middle["float"], 3),
                f"{name}/fused": round(share, 3),
            }
            print(
                f"{name:20}{middle['static']:12.3f}{middle['float']:12.3f}{middle['peer']:14.3f}{share:8.2f}"
            )
            print("    " + ", ".join(f"{k} {v}" for k, v in operators.most_common(12)), flush=True)
    if given.json:
        report(NAME, figures, {})


if __name__ == "__main__":
    main()
