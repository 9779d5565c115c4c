"""torchvision's classification networks: how far each goes, from its capture to a file at eight bits.

Purpose: a user's network is rarely one of ours. Each network, with random weights, 10 classes and batch
norms that saw noise, is captured, folded, quantised at 8/8, calibrated, exported and compared with its file.
Each has a process of its own.

By default the smallest of each family, or two where a family has two kinds of block; with ``--all`` every
one whose weights fit eight times into 6 GiB. Images have 64 pixels a side, or the fewest that the network
takes.

"folded" is the largest difference between the folded network's outputs and its own, as a share of the
outputs' range; "file" the same between the file, as it is written, and the quantised network (in lockstep:
see trainables/export/agreement.py). "fused" is the share of convolutions and matrix products, those of two
activations too, that ONNX Runtime computes in integers.

Acceptance: 95 % of the networks folded to 1e-5 and in agreement with their files to 1e-4; the others are
refused in a sentence.

Table: none. Needs torchvision.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.common import arguments, report
from benchmarks.eight_bits import at_eight_bits, fused, layers_of, network
from raysearch.basics import extras
from raysearch.basics.failures import UserError
from raysearch.networks.capture import capture
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.agreement import TOLERANCE, ExportDisagreement, onnx_error
from raysearch.trainables.quantization import fold_batch_norm

NAME = "torchvision_models"
FOLDED = 1e-5
SMALLEST = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vit_b_32",
)
# Four poolings without padding; windows of 7 on maps of a thirty-second.
SIDES = {"inception_v3": 75, "maxvit_t": 224}
MEMORY, COPIES = 6 * 2**30, 8


@dataclass(frozen=True)
class Row:
    """How far a network went.

    Attributes:
        side: of the images, in pixels.
        seconds: of processor time, from the capture to the compared file.
        folded: the relative error of folding.
        layers: how many multiply by weights.
        fused: the share of convolutions and matrix products that runs in integers.
        file: the relative error of the file.
        refusal: why it went no further; "" where it went all the way.
    """

    side: int
    seconds: float
    folded: float = float("nan")
    layers: int = 0
    fused: float = float("nan")
    file: float = float("nan")
    refusal: str = ""

    @property
    def agrees(self) -> bool:
        """Whether folding is exact and the file computes what the network does."""
        return self.folded <= FOLDED and self.file <= TOLERANCE


def taken_through(name: str, side: int) -> Row:
    """A network captured, folded, quantised, exported and compared."""
    model = network(name, side, classes=10)
    images = torch.randn(16, 3, side, side)
    start = time.process_time()
    try:
        folded = fold_batch_norm(capture(model, images[:2]))
        with torch.no_grad():
            expected, given = model(images[:8]), folded(images[:8])
        difference = float((given - expected).abs().max() / (expected.max() - expected.min()))
        del model, expected, given  # of large networks no more copies than needed
        quantized = at_eight_bits(folded, images)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            export_onnx(quantized, path)
            error, _ = onnx_error(quantized, path, images[:8])
            seconds = time.process_time() - start
            share, _ = fused(path)
    except (UserError, ExportDisagreement) as refusal:
        return Row(side, time.process_time() - start, refusal=str(refusal))
    return Row(side, seconds, difference, len(layers_of(folded)), share, error)


def alone(name: str, side: int, limit_s: float) -> Row:
    """The row of a network, from a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, name, side))
    process.start()
    sender.close()
    if not receiver.poll(limit_s):
        process.kill()
        process.join()
        return Row(side, limit_s, refusal=f"not done within {limit_s:g} s")
    try:
        row: Row = receiver.recv()
        process.join()
        return row
    except EOFError:
        process.join()
        return Row(side, 0.0, refusal=f"a fault of ours: exit code {process.exitcode}")


def _send(sender: Connection, name: str, side: int) -> None:
    torch.set_num_threads(1)
    sender.send(taken_through(name, side))


def names_of(given: Sequence[str], everything: bool) -> list[str]:
    """The networks that are asked for."""
    if not everything:
        return list(given)
    models = extras.load("torchvision.models", "vision")
    known = models.list_models(module=models)
    weights = {n: max(w.meta["num_params"] for w in models.get_model_weights(n)) for n in known}
    return [name for name, count in weights.items() if 4 * count * COPIES <= MEMORY]


def main(argv: list[str] | None = None) -> None:
    """Take the networks through, print a row each and, with --json, end with the figures."""
    parser = arguments(__doc__, seeds=2)
    parser.add_argument("--size", type=int, default=64, help="pixels of the images' side (default 64)")
    parser.add_argument("--networks", nargs="*", default=SMALLEST, help="torchvision's names")
    parser.add_argument("--all", action="store_true", help="all networks that fit the memory")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for a network (default 600)")
    options = parser.parse_args(argv)
    figures: dict[str, float] = {}
    agreed = []
    print(f"{'':20}{'side':>6}{'folded':>10}{'layers':>8}{'fused':>8}{'file':>10}{'seconds':>9}")
    for name in names_of(options.networks, options.all):
        row = alone(name, max(options.size, SIDES.get(name, 0)), options.limit)
        agreed.append(row.agrees)
        print(f"{name:20}{row.side:6}" + (f"  {row.refusal}" if row.refusal else _figures(row)), flush=True)
        if not row.refusal:
            values = {"folded": row.folded, "file": row.file, "fused": round(row.fused, 3)}
            figures |= {f"{name}/{key}": value for key, value in values.items()}
    print(f"{sum(agreed)} of {len(agreed)} folded exactly and in agreement with their files")
    if options.json:
        report(NAME, {"agreed": sum(agreed) / max(1, len(agreed)), **figures}, {})


def _figures(row: Row) -> str:
    return f"{row.folded:10.1e}{row.layers:8}{row.fused:8.2f}{row.file:10.1e}{row.seconds:9.1f}"


if __name__ == "__main__":
    main()
