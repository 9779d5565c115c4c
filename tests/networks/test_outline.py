from __future__ import annotations

import torch
from torch import nn

from raysearch.networks.outline import outline


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.up = nn.ConvTranspose2d(8, 4, 2)
        self.table = nn.Embedding(5, 6)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
        self.head = nn.Linear(4, 2, bias=False)


def test_layers_with_weights_in_their_order_without_running_them() -> None:
    with torch.device("meta"):
        found = outline(Net())
    names = [name for name in found if not name.startswith("normed.")]
    assert names == ["", "conv", "norm", "up", "table", "normed", "head"]
    assert found["conv"].shapes == {"weight": (8, 3, 3, 3), "bias": (8,)}
    assert [found[name].channels for name in ("conv", "norm", "up", "table", "head")] == [8, 0, 4, 0, 2]


def test_what_may_be_quantised_and_what_may_be_sparse() -> None:
    found = outline(Net())
    assert {name for name in ("", "conv", "norm", "up", "table", "head") if found[name].multiplies} == {
        "conv",
        "up",
        "table",
        "head",
    }
    # The weight of a layer under weight norm is computed of others, and transposed ones are left whole.
    assert {name for name, layer in found.items() if layer.is_sparse} == {"conv", "head"}


def test_the_same_layers_are_equal() -> None:
    assert outline(nn.Linear(2, 3)) == outline(nn.Linear(2, 3)) != outline(nn.Linear(2, 4))
