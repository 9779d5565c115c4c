"""What a config's network is, counted from the config alone: channels, weights, operations, size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CLASSES = 10


@dataclass(frozen=True)
class Network:
    """Attributes: size_mb and macs as trials report them; features for regression."""

    size_mb: float
    macs: float
    features: list[float]


def network_of(config: Mapping[str, Any], parent: Mapping[str, Any], side: int, channels: int) -> Network:
    """The network of a canonical config.

    Args:
        config: canonical.
        parent: the parent's architecture.
        side: of the images, in pixels.
        channels: of the images.
    """
    architecture = config["architecture"]
    bits, ratios = config.get("bits", {}), config.get("pruning", {}).get("ratios", {})
    teacher, training = config.get("teacher", {}), config["training"]
    parts = ["stem", *(f"stage{i + 1}" for i in range(architecture["stages"]))]
    total_bits = total_macs = 0.0
    features: list[float] = []
    before = channels
    for part in parts:
        plan, own = architecture[part], parent[part]
        kept = round(plan["width"] * (1 - ratios.get(part, 0.0)))
        depth, basic = plan.get("depth", 1), plan.get("block") == "basic"
        if part not in ("stem", "stage1"):
            side = math.ceil(side / 2)
        weights, biases = _counted(before, kept, depth, basic, stem=part == "stem")
        of_weights, of_activations = _bits(bits, part)
        total_bits += weights * of_weights + biases * 32
        total_macs += weights * side**2
        features += [
            kept,
            plan["width"],
            depth,
            basic,
            of_weights,
            of_activations,
            ratios.get(part, 0.0),
            math.log(weights * side**2),
            min(plan["width"], own["width"]) / own["width"],
            min(depth, own.get("depth", 1)) / own.get("depth", 1),
            plan.get("block") == own.get("block"),
        ]
        before = kept
    of_weights, of_activations = _bits(bits, "head")
    total_bits += before * _CLASSES * of_weights + _CLASSES * 32
    total_macs += before * _CLASSES
    pairs = [_bits(bits, part) for part in (*parts, "head")]
    features += [
        of_weights,
        of_activations,
        len(set(pairs)),
        sum(a < 32 for _, a in pairs),
        sum((w < 32) != (a < 32) for w, a in pairs),
        math.log(total_bits),
        math.log(total_macs),
        math.log(training["lr"]),
        teacher.get("name") is not None,
        teacher.get("temperature", 0.0),
        teacher.get("weight", 0.0),
    ]
    return Network(total_bits / 8e6, total_macs, [float(f) for f in features])


def _bits(bits: Mapping[str, Any], part: str) -> tuple[int, int]:
    own = bits.get(part, {"weights": 32, "activations": 32})
    return own["weights"], own["activations"]


def _counted(before: int, kept: int, depth: int, basic: bool, *, stem: bool) -> tuple[int, int]:
    """Weights and biases of a part: convolutions of 3 x 3, and of 1 x 1 on the first block's skip."""
    if stem or not basic:
        return 9 * kept * (before + (depth - 1) * kept), depth * kept
    weights = 9 * kept * (before + (2 * depth - 1) * kept) + before * kept
    return weights, (2 * depth + 1) * kept
