import pytest
import torch

from raysearch.networks.groups import prunable_groups
from raysearch.trainables.models.mvcnn import MVCNNPlan, build_mvcnn

PLAN = MVCNNPlan(views=3, widths=(4, 8), features=5)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_logits_depend_on_every_view(pooling):
    torch.manual_seed(0)
    net = build_mvcnn(MVCNNPlan(3, (4, 8), 5, pooling), 3, 4).eval()
    x = torch.randn(2, 3, 3, 16, 16)
    logits = net(x)
    assert logits.shape == (2, 4)
    for view in range(3):
        other = x.clone()
        other[:, view] = torch.randn(2, 3, 16, 16)
        assert not torch.equal(net(other), logits)


def test_branches_have_weights_of_their_own():
    net = build_mvcnn(PLAN, 1, 2)
    one = sum(p.numel() for p in net.branches[0].parameters())
    assert sum(p.numel() for p in net.parameters()) == 3 * one + 5 * 2 + 2


def test_mean_pooling_is_the_mean():
    net = build_mvcnn(MVCNNPlan(3, (4,), 5, "mean"), 1, 2).eval()
    x = torch.randn(2, 3, 1, 8, 8)
    features = torch.stack([branch(x[:, i]) for i, branch in enumerate(net.branches)])
    torch.testing.assert_close(net(x), net.head(features.mean(0)))


def test_every_convolution_can_be_pruned_alone():
    groups = prunable_groups(build_mvcnn(PLAN, 1, 2), torch.randn(2, 3, 1, 8, 8))
    assert {f"branches.{i}.conv{k}" for i in range(3) for k in (1, 2)} <= set(groups)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": 0}, "0 views"),
        ({"widths": ()}, "at least 1 of each"),
        ({"pooling": "sum"}, "'sum', not one"),
    ],
)
def test_bad_plans_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MVCNNPlan(**arguments)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="3 input channels and 1 classes"):
        build_mvcnn(PLAN, 3, 1)
