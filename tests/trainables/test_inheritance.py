from __future__ import annotations

import pytest
import torch
from torch import nn

from raysearch.search_spaces.architectures.resnet import ResNetPlan
from raysearch.search_spaces.architectures.resnet import StagePlan as Stage
from raysearch.trainables.inheritance import Inherited, inherit
from raysearch.trainables.models.resnet import build_resnet

PARENT = ResNetPlan(16, (Stage(1, 16), Stage(2, 24)))


def network(plan):
    torch.manual_seed(hash(plan) % 1000)
    return build_resnet(plan, 1, 10).eval()


def test_the_same_architecture_computes_the_same():
    parent, child = network(PARENT), build_resnet(PARENT, 1, 10).eval()
    x = torch.randn(3, 1, 8, 8)
    assert not torch.equal(child(x), parent(x))
    assert inherit(child, parent.state_dict()) == Inherited(1.0, True)
    assert torch.equal(child(x), parent(x))


def test_another_architecture_takes_what_overlaps():
    parent = network(PARENT)
    child = network(ResNetPlan(8, (Stage(2, 32), Stage(1, 16))))
    before = child.state_dict()["stage1.1.conv1.weight"].clone()
    found = inherit(child, parent.state_dict())
    assert 0 < found.share < 1
    assert not found.whole
    own, other = child.state_dict(), parent.state_dict()
    assert torch.equal(own["stem.conv.weight"], other["stem.conv.weight"][:8])
    assert torch.equal(own["stage1.0.conv2.weight"][:16, :16], other["stage1.0.conv2.weight"])
    assert torch.equal(own["stage1.1.conv1.weight"], before), "a block the parent lacks keeps its own"


def test_a_larger_kernel_takes_the_smaller_in_its_middle():
    parent = network(PARENT)
    child = network(ResNetPlan(16, (Stage(1, 16, kernel=5), Stage(2, 24))))
    inherit(child, parent.state_dict())
    own = child.state_dict()["stage1.0.conv1.weight"]
    assert torch.equal(own[:, :, 1:4, 1:4], parent.state_dict()["stage1.0.conv1.weight"])


def test_a_smaller_kernel_takes_the_middle_of_the_larger():
    parent = network(ResNetPlan(16, (Stage(1, 16, kernel=5), Stage(2, 24))))
    child = network(PARENT)
    inherit(child, parent.state_dict())
    middle = parent.state_dict()["stage1.0.conv1.weight"][:, :, 1:4, 1:4]
    assert torch.equal(child.state_dict()["stage1.0.conv1.weight"], middle)


def block(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]


def plain(depth: int, width: int = 8) -> nn.Sequential:
    """Layers in a row: with another depth the last one has another number."""
    blocks = [layer for _ in range(depth) for layer in block(width)]
    return nn.Sequential(nn.Conv2d(1, width, 1), *blocks, nn.Flatten(), nn.Linear(width * 16, 3))


@pytest.mark.parametrize(("depth", "parents"), [(1, 3), (3, 1), (2, 3)])
def test_layers_in_a_row_are_matched_in_order_where_depths_differ(depth, parents):
    parent, child = plain(parents), plain(depth)
    inherit(child, parent.state_dict())
    own, other = list(child), list(parent)
    assert torch.equal(own[-1].weight, other[-1].weight), "the last layer is the last layer"
    for i in range(3 * min(depth, parents)):
        assert all(torch.equal(a, b) for a, b in zip(own[i].parameters(), other[i].parameters(), strict=True))
    if depth > parents:
        assert not any(
            torch.equal(own[4].weight, layer.weight) for layer in other if hasattr(layer, "weight")
        )


def test_of_single_layers_the_one_that_fits_comes_before_the_one_of_the_same_number():
    parent = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    child = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    inherit(child, parent.state_dict())
    assert torch.equal(child[0].weight, parent[0].weight)
    assert torch.equal(child[2].weight, parent[4].weight)


def test_blocks_of_another_kind_are_passed_over():
    parent = nn.Sequential(*block(4)[:2], nn.Linear(4, 4), nn.Embedding(3, 5))
    child = nn.Sequential(nn.Linear(4, 4), nn.Embedding(3, 5))
    inherit(child, parent.state_dict())
    assert torch.equal(child[0].weight, parent[2].weight)
    assert torch.equal(child[1].weight, parent[3].weight)


def test_queries_keys_and_values_keep_apart():
    parent, child = nn.MultiheadAttention(8, 2), nn.MultiheadAttention(4, 2)
    inherit(child, parent.state_dict())
    for own, other in zip(child.in_proj_weight.chunk(3), parent.in_proj_weight.chunk(3), strict=True):
        assert torch.equal(own, other[:4, :4])


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_gates_keep_apart(layer, gates):
    parent, child = layer(3, 6), layer(3, 4)
    inherit(child, parent.state_dict())
    pairs = zip(child.weight_hh_l0.chunk(gates), parent.weight_hh_l0.chunk(gates), strict=True)
    assert all(torch.equal(own, other[:4, :4]) for own, other in pairs)


def test_places_along_tokens_take_the_first_channels():
    class Places(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.places = nn.Parameter(torch.randn(1, 5, width))

    parent, child = Places(8), Places(4)
    inherit(child, parent.state_dict())
    assert torch.equal(child.places, parent.places[:, :, :4])


def test_the_share_counts_what_came():
    parent, child = nn.Linear(4, 4, bias=False), nn.Linear(4, 8, bias=False)
    assert inherit(child, parent.state_dict()) == Inherited(0.5, False)
    assert inherit(nn.Sequential(nn.Linear(2, 2)), {}) == Inherited(0.0, False)
