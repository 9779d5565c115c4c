from __future__ import annotations

import torch

from raysearch.search_spaces.resnet import ResNetPlan
from raysearch.search_spaces.resnet import StagePlan as Stage
from raysearch.trainables.inheritance import inherit
from raysearch.trainables.models.resnet import build_resnet

PARENT = ResNetPlan(16, (Stage(1, 16), Stage(2, 24)))


def network(plan):
    torch.manual_seed(hash(plan) % 1000)
    return build_resnet(plan, 1, 10).eval()


def test_the_same_architecture_computes_the_same():
    parent, child = network(PARENT), build_resnet(PARENT, 1, 10).eval()
    x = torch.randn(3, 1, 8, 8)
    assert not torch.equal(child(x), parent(x))
    assert inherit(child, parent.state_dict())
    assert torch.equal(child(x), parent(x))


def test_another_architecture_takes_what_overlaps():
    parent = network(PARENT)
    child = network(ResNetPlan(8, (Stage(2, 32), Stage(1, 16))))
    before = child.state_dict()["stage1.1.conv1.weight"].clone()
    assert not inherit(child, parent.state_dict())
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
