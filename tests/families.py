"""Small spaces of each ready family, draws from them, and networks that learn in seconds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ray.tune.search.sample import Domain
from torch import nn

from raysearch import search_spaces as spaces
from raysearch.search_spaces.architectures import Architecture
from raysearch.trainables.models.ready import build_network

SPACES: dict[str, dict[str, Any]] = {
    "resnet": spaces.resnet(stages=(1, 4), width=(8, 24), kernel=(1, 3, 5, 7), block=("basic", "separable")),
    "mobilenet": spaces.mobilenet(
        stages=(1, 4), depth=(1, 2), width=(8, 24), kernel=(3, 5, 7), activation=("relu", "hard_swish")
    ),
    "vit": spaces.vit(blocks=(1, 3), patch=(1, 2, 4, 16), head_width=(8, 16), activation=("relu", "gelu")),
    "conv1d": spaces.conv1d(stages=(1, 4), width=(8, 24), kernel=(3, 9, 31)),
    "mlp": spaces.mlp(width=(16, 64), activation=("relu", "hard_swish", "gelu", "tanh")),
}
#: Of one input that is no power of two, and whose sides differ.
SHAPES = {"resnet": (3, 9, 8), "mobilenet": (3, 9, 8), "vit": (3, 9, 7), "conv1d": (2, 37), "mlp": (2, 5, 3)}
#: One network a family, which learns in seconds: images the digits, signals those of benchmarks/signals.py.
PLANS: dict[str, dict[str, Any]] = {
    "mobilenet": {
        "family": "mobilenet",
        "stem": {"width": 16},
        "activation": "hard_swish",
        "stage1": {"depth": 1, "width": 16, "expansion": 1, "kernel": 3, "squeeze": True},
        "stage2": {"depth": 2, "width": 32, "expansion": 3, "kernel": 5, "squeeze": False},
    },
    "vit": {
        "family": "vit",
        "patch": 4,
        "heads": 4,
        "head_width": 16,
        "block1": {"mlp_ratio": 2},
        "block2": {"mlp_ratio": 3},
    },
    "conv1d": {
        "family": "conv1d",
        "stem": {"width": 8},
        "stage1": {"depth": 1, "width": 16, "kernel": 9, "block": "plain"},
        "stage2": {"depth": 1, "width": 32, "kernel": 5, "block": "basic"},
    },
    "mlp": {"family": "mlp", "layer1": {"width": 64}, "layer2": {"width": 32}},
}


def draw(space: Mapping[str, Any]) -> dict[str, Any]:
    """What plain random search of Tune makes of a space: every domain sampled by itself."""
    return {
        key: draw(value)
        if isinstance(value, Mapping)
        else value.sample()
        if isinstance(value, Domain)
        else value
        for key, value in space.items()
    }


def draws(family: str, count: int) -> list[dict[str, Any]]:
    """The same configs each time."""
    random.seed(family)
    np.random.seed(len(family))
    return [draw(SPACES[family]) for _ in range(count)]


def made(family: str, plan: Architecture, classes: int = 10) -> tuple[nn.Module, torch.Tensor]:
    """The network of a plan in evaluation mode, and a batch of two for it."""
    torch.manual_seed(0)
    return build_network(plan, SHAPES[family], classes).eval(), torch.randn(2, *SHAPES[family])
