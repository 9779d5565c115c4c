"""Gradients of a loss for pruning, on models and tasks of several kinds."""

from __future__ import annotations

import copy

import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from raysearch.networks.groups import prunable_groups
from raysearch.networks.nests import tensors
from raysearch.search_spaces.pruning.channel_pruning import GRADIENTS, PruningPlan
from raysearch.trainables.pruning import prune, prune_like
from raysearch.trainables.pruning.gradients import lent_gradients, loss_gradients
from raysearch.trainables.task import cross_entropy

X = torch.randn(70, 6, generator=torch.Generator().manual_seed(0))
EXAMPLES = TensorDataset(X, torch.arange(70) % 3)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))


def test_the_gradient_is_that_of_all_examples_together() -> None:
    model = mlp().eval()
    found = loss_gradients(model, "taylor", EXAMPLES, None, cross_entropy)
    (70 * cross_entropy(model(X), EXAMPLES.tensors[1])).backward()
    for parameter, gradient in zip(model.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_the_second_order_is_the_sum_of_each_examples_square() -> None:
    model = mlp().eval()
    found = loss_gradients(model, "hessian", EXAMPLES, None, cross_entropy)
    expected = torch.zeros(3, 8)
    for x, y in zip(*EXAMPLES.tensors, strict=True):
        (gradient,) = torch.autograd.grad(cross_entropy(model(x[None]), y[None]), [model[3].weight])
        expected += gradient.square()
    torch.testing.assert_close(found[2], expected)


@pytest.mark.parametrize("criterion", GRADIENTS)
def test_a_model_is_left_as_it_was(criterion: str) -> None:
    model = mlp().train()
    model[0].weight.requires_grad_(False)
    own = model[3].bias.grad = torch.ones(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad(), lent_gradients(model, criterion, EXAMPLES, None, cross_entropy):
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert [p.grad for p in model.parameters()] == [None, None, None, own]
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loss_that_depends_on_no_weight_is_refused() -> None:
    losses = [lambda y, _: y.detach().mean(), lambda y, _: torch.ones((), requires_grad=True)]
    for loss in losses:
        with pytest.raises(ValueError, match="depends on none of the model's weights: choose magnitude"):
            loss_gradients(mlp(), "taylor", EXAMPLES, None, loss)


def test_what_matters_to_the_loss_stays() -> None:
    model = mlp()
    with torch.no_grad():
        model[3].weight[:, [1, 4, 5, 6]] = 0  # large before, and never read
        model[0].weight[[1, 4, 5, 6]] *= 10
    for criterion in GRADIENTS:
        network = mlp()
        network.load_state_dict(model.state_dict())
        plan = PruningPlan({"0": 0.5}, criterion, 1)
        assert prune(network, X[:2], plan, examples=EXAMPLES) == [("0", [1, 4, 5, 6])]
        torch.testing.assert_close(network.eval()(X), model.eval()(X))


def collated(examples: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return zoo.sentences(len(examples)), {"kind": torch.tensor(examples) % 3}


@pytest.mark.parametrize("criterion", GRADIENTS)
def test_inputs_and_targets_may_be_nests(criterion: str) -> None:
    torch.manual_seed(0)
    model, inputs = zoo.Text(), zoo.sentences(2)
    history = prune(
        model, inputs, PruningPlan({"hidden": 0.5}, criterion, 1),
        examples=list(range(20)), collate=collated, loss=lambda y, target: cross_entropy(y, target["kind"]),
    )  # fmt: skip
    assert [len(channels) for _, channels in history] == [4]
    assert prune_like(zoo.Text(), inputs, history).hidden.out_features == 4


KINDS = ("resnet", "densenet", "segmentation", "squeeze_excitation", "conv3d")
CRITERIA = (*GRADIENTS, "batch_norm_scale", "lamp", "fpgm")


# Each kind once a criterion, or twice; all pairs take a minute.
@pytest.mark.parametrize(
    ("name", "criterion"),
    [
        pytest.param(kind, criterion, marks=[pytest.mark.slow] * ((k + c) % len(KINDS) > 0))
        for k, kind in enumerate(KINDS)
        for c, criterion in enumerate(CRITERIA)
    ],
)
def test_networks_of_several_kinds(name: str, criterion: str) -> None:
    kind = zoo.NETWORKS[name]
    inputs = kind.inputs(6)
    model = copy.deepcopy(zoo.network(name))
    groups = prunable_groups(model, inputs)
    plan = PruningPlan(dict.fromkeys(groups, 0.5), criterion, 1)
    examples = TensorDataset(inputs, torch.zeros(6))
    history = prune(model, inputs, plan, examples=examples, loss=lambda y, _: tensors(y)[0].square().mean())
    assert [root for root, _ in history] == list(groups)
    assert [len(gone) for _, gone in history] == [width // 2 for width in groups.values()]
