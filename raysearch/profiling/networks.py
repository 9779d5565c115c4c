"""Networks by which a device is known: of one width throughout, and random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from raysearch.networks.capture import capture
from raysearch.networks.groups import quantizable_layers
from raysearch.search_spaces.architectures.resnet import BLOCKS, ResNetPlan, StagePlan
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.export.deployment import write_files
from raysearch.trainables.models.ready import build_network
from raysearch.trainables.quantization import (
    calibrate,
    fold_batch_norm,
    insert_quantizers,
    rounded_throughout,
)
from raysearch.trainables.setup import unsigned_bits_in

SHAPE, CLASSES = (3, 32, 32), 10
FLOAT = 32
Pairs = Sequence[tuple[int, int]]  # of bits of weights and of activations
INTEGERS: Pairs = ((8, 8), (8, 8), (4, 8))
ALL: Pairs = ((FLOAT, FLOAT), *INTEGERS, (8, FLOAT))


@dataclass(frozen=True)
class Files:
    """A network's file for a target, and its ONNX file, of which features are read."""

    target: Path
    onnx: Path


def even(width: int, bits: tuple[int, int], form: str = "uint8") -> fx.GraphModule:
    """Four convolutions of one width, in one precision.

    Args:
        width: channels of each.
        bits: of weights and of activations; 32 is float.
        form: of the file that it is for.
    """
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))
    return quantized(network, lambda layer: bits, form)


def random(count: int, seed: int, form: str = "uint8", pairs: Pairs = ALL) -> Iterator[fx.GraphModule]:
    """Residual networks of random depths, widths and blocks, in one precision or each layer in its own.

    Args:
        count: how many.
        seed: of what is drawn.
        form: of the file that they are for.
        pairs: of bits that are drawn.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        stages = tuple(
            StagePlan(int(rng.integers(1, 4)), int(rng.integers(8, 65)), block=str(rng.choice(BLOCKS)))
            for _ in range(int(rng.integers(2, 4)))
        )
        torch.manual_seed(int(rng.integers(2**31)))
        network = build_network(ResNetPlan(int(rng.integers(8, 65)), stages), SHAPE, CLASSES)
        mixed, pair = rng.random() < 0.25, pairs[int(rng.integers(len(pairs)))]
        yield quantized(network, lambda layer: pairs[int(rng.integers(len(pairs)))] if mixed else pair, form)  # noqa: B023


def quantized(
    network: nn.Module, bits_of: Callable[[str], tuple[int, int]], form: str = "uint8"
) -> fx.GraphModule:
    """A network as it is deployed, each layer with the bits of weights and activations that it is given."""
    images = torch.randn(8, *SHAPE)
    folded = fold_batch_norm(capture(network.eval(), images[:2]))
    pairs = {layer: bits_of(layer) for layer in quantizable_layers(network, images[:2])}
    plan = BitWidthPlan({n: w for n, (w, _) in pairs.items()}, {n: a for n, (_, a) in pairs.items()})
    if not plan.quantized:
        return folded
    module = insert_quantizers(folded, plan, unsigned_bits=unsigned_bits_in([form]))
    module = rounded_throughout(module) if form == "litert" else module
    calibrate(module, [images])
    return module


def write(module: fx.GraphModule, form: str, folder: Path) -> Files:
    """The file of a form, and the ONNX file."""
    files = write_files(module, folder, dict.fromkeys(["uint8", form]))
    return Files(files[form], files["uint8"])


def example(batch: int) -> dict[str, NDArray[Any]]:
    """Inputs of any of these networks."""
    return {"input": torch.randn(batch, *SHAPE).numpy()}
