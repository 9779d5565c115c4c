from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from trial_setup import ALL8, PARENT, FakeMeasure, make_setup

from raysearch import search_spaces as spaces
from raysearch.search_spaces.pruning.weight_sparsity import SparsityPlan
from raysearch.trainables.pruning.sparsity import hold_zeros, sparsify
from raysearch.trainables.stages import TrialStages


class Net(nn.Module):
    """Convolutions of every kind and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.wide = nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.depthwise(self.norm(self.stem(x))))
        return self.head(torch.relu(self.wide(x)).mean((2, 3)))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def examples() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (96,), generator=generator)
    return TensorDataset(torch.randn(96, 1, 6, 6, generator=generator) + labels[:, None, None, None], labels)


def zeros(layer: nn.Module) -> float:
    return 1 - float(layer.weight.count_nonzero() / layer.weight.numel())


def test_the_smallest_weights_of_a_part_go(net):
    before = net.wide.weight.detach().clone()
    sparsify(net, SparsityPlan("unstructured", "magnitude", {"wide": 0.75, "head": 0.5}))
    assert zeros(net.wide) == pytest.approx(0.75)
    assert zeros(net.head) == pytest.approx(0.5)
    assert zeros(net.stem) == 0
    kept = net.wide.weight != 0
    assert torch.equal(net.wide.weight[kept], before[kept])
    assert before[~kept].abs().max() <= before[kept].abs().min()


def test_two_of_four_lie_along_the_input_channels(net):
    before = net.wide.weight.detach().clone()
    sparsify(net, SparsityPlan("2:4", "magnitude", dict.fromkeys(("stem", "depthwise", "wide", "head"), 0.5)))
    assert zeros(net.stem) == zeros(net.depthwise) == 0, "one input channel a group"
    fours = net.wide.weight.detach().unflatten(1, (-1, 4))
    assert (fours.count_nonzero(dim=2) == 2).all()
    wanted = before.unflatten(1, (-1, 4)).abs().topk(2, dim=2).values.sum()
    assert fours.abs().sum() == pytest.approx(float(wanted))
    assert (net.head.weight.unflatten(1, (-1, 4)).count_nonzero(dim=2) == 2).all()


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
@pytest.mark.parametrize("criterion", ["taylor", "annealing"])
def test_criteria_that_look_at_examples(net, pattern, criterion):
    plan = SparsityPlan(pattern, criterion, {"wide": 0.5, "head": 0.5})
    with pytest.raises(ValueError, match=f"criterion '{criterion}' looks at examples, and none are given"):
        sparsify(net, plan)
    sparsify(net, plan, examples=examples())
    assert zeros(net.wide) == pytest.approx(0.5)
    assert all(p.grad is None for p in net.parameters())


def test_taylor_spares_what_the_loss_depends_on(net):
    with torch.no_grad():
        net.wide.weight[8:] *= 10  # large, and read by nobody
        net.head.weight[:, 8:] = 0
    sparsify(net, SparsityPlan("unstructured", "taylor", {"wide": 0.5}), examples=examples())
    assert net.wide.weight[8:].count_nonzero() < 0.02 * net.wide.weight[8:].numel()


def test_one_weight_always_stays_and_excluded_layers_stay_whole(net):
    sparsify(net, SparsityPlan("unstructured", "magnitude", {"head": 0.99, "wide": 0.9}), exclude=("wide",))
    assert net.head.weight.count_nonzero() == 1
    assert zeros(net.wide) == 0


def test_zeros_are_held_whatever_the_optimiser_does(net):
    sparsify(net, SparsityPlan("unstructured", "magnitude", {"wide": 0.5}))
    nn.init.zeros_(net.head.weight)
    mask = net.wide.weight != 0
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    hold_zeros(optimizer, net)
    for _ in range(3):
        optimizer.zero_grad()
        x, y = examples()[:32]
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert torch.equal(net.wide.weight != 0, mask)
    assert net.head.weight.count_nonzero() == net.head.weight.numel(), "what begins at zero is learnt"


SPARSE = spaces.bind(
    {
        "architecture": PARENT["architecture"],
        "pruning": spaces.channel_pruning() | spaces.weight_sparsity(),
        "bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
    },
    parent=PARENT,
)


@pytest.mark.parametrize("bits", [{}, {"bits": ALL8}])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_a_trial_ends_with_the_zeros_that_it_began_with(tmp_path, pattern, bits):
    setup = replace(make_setup(tmp_path), space=SPARSE)
    ratios = dict.fromkeys(("stem", "stage1", "head"), 0.6)
    config = {**PARENT, **bits, "pruning": {"sparsity": {"pattern": pattern, "ratios": ratios}}}
    dense = TrialStages(setup, "dense", {**PARENT, **bits}, FakeMeasure()).next_report().values
    stages = TrialStages(setup, "0000", config, FakeMeasure())
    first = stages.next_report()
    zero = {n: p == 0 for n, p in stages.module.named_parameters() if p.dim() > 1}
    assert any(f"the pattern {pattern}" in note and "no target here" in note for note in first.notes)
    assert first.values["size_mb"] < dense["size_mb"]
    assert first.values["params"] == dense["params"]
    stages.next_report()
    if not bits:
        trained = dict(stages.module.named_parameters())
        assert all(torch.equal(trained[n] == 0, mask) for n, mask in zero.items())
    again = TrialStages(setup, "0000", config, FakeMeasure())  # as after an interruption
    reports = [again.next_report() for _ in range(setup.epochs + 2)]
    dropped = sum(int(mask.sum()) for mask in zero.values()) / sum(mask.numel() for mask in zero.values())
    assert reports[-1].values["nonzero_rate"] <= 1 - dropped + 1e-6
    assert reports[-1].values["nonzero_rate"] > 1 - dropped - 0.2, "what was kept is still there"
