"""Networks at eight bits on several runtimes of a machine, beside what each runtime's tools make of them.

Purpose: one network that was trained with its quantisers must run, on every target, as fast as what that
target's own tools would have made of the float network.

For each network, with random weights and 8/8 bits: our file in the target's form, its float file, and the
tools' (ONNX Runtime's static quantisation; NNCF's for OpenVINO; ai-edge-quantizer's for LiteRT). Latencies
are paired ratios under the measurement protocol, one thread, one process; the order changes with the seed.

"int8_speedup/TARGET/NETWORK" is how many times faster than the target's own float our file is, "of_tools/..."
our time as a share of the tools' file's, the median over seeds; the latter is missing where the tool is not
installed.

Acceptance: never slower than 1.05 x the tools' file.

Table: none. Needs torchvision; what is not installed is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from benchmarks.common import arguments, report
from benchmarks.eight_bits import layers_of
from benchmarks.eight_bits import network as of_torchvision
from raysearch import backends
from raysearch.backends.measurement.protocol import Protocol, measure
from raysearch.backends.static_int8 import static_int8
from raysearch.networks.capture import capture
from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.export.deployment import write_files
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.models.ready import build_network
from raysearch.trainables.quantization import (
    calibrate,
    fold_batch_norm,
    insert_quantizers,
    rounded_throughout,
)

NAME = "targets"
SIZES = {"resnet20": 32, "mobilenet_v2": 224, "resnet18": 224}
TARGETS = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")


def network(name: str) -> nn.Module:
    """A network with random weights and plausible statistics."""
    if name != "resnet20":
        return of_torchvision(name, SIZES[name])
    torch.manual_seed(0)
    stages = tuple(StagePlan(3, width) for width in (16, 32, 64))
    return build_network(ResNetPlan(16, stages), (3, 32, 32), 10).eval()


def at_eight_bits(folded: fx.GraphModule, images: Tensor, form: str) -> fx.GraphModule:
    """A captured network at 8/8 as a form wants it, calibrated on images."""
    bits = dict.fromkeys(layers_of(folded), 8)
    module = insert_quantizers(folded, BitWidthPlan(bits, bits))
    module = rounded_throughout(module) if form == "litert" else module
    calibrate(module, images.split(8))
    return module


def by_onnxruntime(files: Mapping[str, Path], images: Tensor, path: Path) -> None:
    static_int8(files["uint8"], [feed_of(part) for part in images.split(8)], path)


def by_nncf(files: Mapping[str, Path], images: Tensor, path: Path) -> None:
    import nncf
    import openvino

    data = nncf.Dataset([part.numpy() for part in images.split(1)])
    model = nncf.quantize(openvino.Core().read_model(str(files["uint8"])), data)
    openvino.save_model(model, str(path), compress_to_fp16=False)


def by_ai_edge(files: Mapping[str, Path], images: Tensor, path: Path) -> None:
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(str(files["litert"]))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    given = {"serving_default": [feed_of(part) for part in images.split(1)]}
    tool.quantize(tool.calibrate(given)).export_model(str(path))


TOOLS: dict[str, tuple[str, Callable[[Mapping[str, Path], Tensor, Path], None], str]] = {
    "onnxruntime-cpu": ("onnxruntime", by_onnxruntime, "tools.onnx"),
    "openvino-cpu": ("nncf", by_nncf, "tools.xml"),
    "litert-cpu": ("ai_edge_quantizer", by_ai_edge, "tools.tflite"),
}


def ratio(target: str, candidate: Path, reference: Path, images: Tensor) -> float:
    """The paired ratio of two files' latencies on a target."""
    backend, feed = backends.get(target), feed_of(images[:1])
    first, second = (backend.load(path).runner(feed) for path in (candidate, reference))
    return measure(first, second, Protocol(max_s=4.0)).ratio


def compared(name: str, target: str, seeds: int, folder: Path) -> dict[str, float]:
    """Our file on a target against its float and its tools' files."""
    form, images = backends.get(target).form, torch.randn(16, 3, SIZES[name], SIZES[name])
    folded = fold_batch_norm(capture(network(name), images[:2]))
    for kind in ("float", "ours"):
        (folder / kind).mkdir()
    whole = write_files(folded, folder / "float", dict.fromkeys(["uint8", form]))
    ours = write_files(at_eight_bits(folded, images, form), folder / "ours", [form])[form]
    rivals: dict[str, Any] = {"float": whole[form]}
    package, tool, file = TOOLS[target]
    if find_spec(package) is not None:
        tool(whole, images, folder / file)
        rivals["tools"] = folder / file
    found: dict[str, list[float]] = {rival: [] for rival in rivals}
    for seed in range(seeds):
        for rival in sorted(rivals, reverse=bool(seed % 2)):
            found[rival].append(ratio(target, ours, rivals[rival], images))
    figures = {f"int8_speedup/{target}/{name}": 1 / float(np.median(found["float"]))}
    if "tools" in found:
        figures[f"of_tools/{target}/{name}"] = float(np.median(found["tools"]))
    return {key: round(value, 3) for key, value in figures.items()}


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__, seeds=3)
    parser.add_argument("--networks", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--targets", nargs="*", choices=TARGETS, default=TARGETS)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    for name in given.networks:
        for target in given.targets:
            if reason := backends.get(target).unavailable():
                print(f"{target} is left out: {reason}")
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = compared(name, target, given.seeds, Path(folder))
            print(", ".join(f"{key} {value}" for key, value in found.items()), flush=True)
            figures |= found
    if given.json:
        report(NAME, figures, {})


if __name__ == "__main__":
    main()
