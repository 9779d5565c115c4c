from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from raysearch.sweeps.left_out import metric_without
from raysearch.trainables.task import accuracy

Pair = namedtuple("Pair", "logits rest")


class Named(nn.Module):
    def forward(self, x):
        return Pair(x, {"unused": [x], "width": 1})


class Uncalled(nn.Linear):
    """Its weights are read, it is never called."""


class Net(nn.Module):
    """The class is the larger of two inputs; ``dead`` adds nothing, ``memory`` next to nothing."""

    def __init__(self):
        super().__init__()
        self.seen = nn.Identity()
        self.dead = nn.Linear(2, 2)
        self.several = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.named = Named()
        self.memory = nn.LSTM(2, 2, bias=False, batch_first=True)
        self.read = Uncalled(2, 2)
        nn.init.zeros_(self.dead.weight)
        nn.init.zeros_(self.dead.bias)

    def forward(self, x):
        x = self.seen(x) + self.dead(x)
        x = sum(branch(x) for branch in self.several)
        remembered, _ = self.memory(x[:, None])
        x = self.named(x + 1e-3 * remembered[:, 0]).logits
        return x + 0 * nn.functional.linear(x, self.read.weight)


@pytest.fixture
def examples():
    torch.manual_seed(0)
    x = torch.rand(40, 2)
    return TensorDataset(x, x.argmax(1))


@pytest.mark.parametrize("part", ["seen", "several", "named"])
def test_without_what_knows_the_class_the_network_guesses(examples, part):
    network = Net().eval()
    always_first = float((examples.tensors[1] == 0).float().mean())
    before = accuracy(network(examples.tensors[0]), examples.tensors[1])
    found = metric_without(network, [part, "dead", "memory"], examples, accuracy)
    assert before > 0.95
    assert found[part] == always_first < before
    assert found["memory"] > 0.95
    assert found["dead"] == before
    assert accuracy(network(examples.tensors[0]), examples.tensors[1]) == before  # it is left as it was


def test_a_metric_that_is_lost_without_a_part_is_said(examples):
    def spread(logits, labels):
        return float(logits.std() / logits.std())

    with pytest.raises(ValueError, match="without the part 'named' the metric is nan"):
        metric_without(Net(), ["named"], examples, spread)


def test_a_part_that_is_never_called_is_refused(examples):
    with pytest.raises(ValueError, match="the part 'read' cannot be left out: the network never calls it"):
        metric_without(Net(), ["read"], examples, accuracy)
