"""Small networks of the zoo as .tflite files: each is converted once a session, which takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import fx, nn
from zoo import NETWORKS, captured, layers, uniform

from raysearch.networks.capture import capture
from raysearch.networks.nests import Nest
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.export import export_litert
from raysearch.trainables.quantization import (
    calibrate,
    fold_batch_norm,
    insert_quantizers,
    rounded_throughout,
)

torch.set_num_threads(1)


@dataclass(frozen=True)
class Written:
    """A file and the module that it was written of."""

    module: fx.GraphModule
    path: Path
    inputs: Callable[[int], Nest]


Write = Callable[..., Written]


def deployed(name: str, plan: BitWidthPlan | tuple[int, int]) -> fx.GraphModule:
    """A network as it is deployed where LiteRT is among the targets."""
    module = fold_batch_norm(captured(name))
    bits = plan if isinstance(plan, BitWidthPlan) else uniform(module, *plan)
    if bits.quantized:
        module = rounded_throughout(insert_quantizers(module, bits))
        calibrate(module, [NETWORKS[name].inputs(16)])
    return module


def integers(net: nn.Module, shape: tuple[int, ...] = (1, 8, 8)) -> fx.GraphModule:
    """The net in eight bits, as it is deployed where LiteRT is among the targets."""
    inputs = torch.randn(64, *shape, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norm(capture(net, inputs))
    module = rounded_throughout(insert_quantizers(folded, uniform(folded, 8, 8)))
    calibrate(module, [inputs])
    return module


def mixed(name: str) -> BitWidthPlan:
    """Bits that change from layer to layer."""
    names = layers(captured(name))
    bits = [(8, 8), (4, 8), (8, 4), (32, 32), (2, 8), (16, 16)]
    pairs = {layer: bits[place % len(bits)] for place, layer in enumerate(names)}
    return BitWidthPlan({n: w for n, (w, _) in pairs.items()}, {n: a for n, (_, a) in pairs.items()})


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """``written(name, weights, activations, batch)`` gives a network's file; "mixed" bits with 0 and 0."""
    pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    folder, known = tmp_path_factory.mktemp("litert"), {}

    def write(name: str, weights: int = 8, activations: int = 8, batch: int = 1) -> Written:
        key = (name, weights, activations, batch)
        if key not in known:
            module = deployed(name, (weights, activations) if weights else mixed(name))
            path = folder / f"{'-'.join(map(str, key))}.tflite"
            export_litert(module, path, batch)
            known[key] = Written(module, path, NETWORKS[name].inputs)
        return known[key]

    return write
