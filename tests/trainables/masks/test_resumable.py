import pytest
import torch
from torch import fx, nn

from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
from raysearch.trainables.masks.resumable import Resumable
from raysearch.trainables.models.resnet import build_resnet

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("changing", ["stem.conv.weight", "stage2.0.conv1.weight", "head.weight"])
def test_it_goes_on_from_where_a_change_matters(changing):
    torch.manual_seed(0)
    model = build_resnet(ResNetPlan(8, (StagePlan(1, 8), StagePlan(1, 16))), 1, 10).eval()
    resumable = Resumable(model, X)
    start = resumable.start({}, X, {changing})
    for factor in (0.0, 0.5, 2.0):
        replaced = {changing: model.get_parameter(changing).detach() * factor}
        expected = torch.func.functional_call(model, replaced, (X,))
        assert torch.allclose(resumable.run(replaced, start), expected, atol=1e-6)
        assert torch.allclose(resumable.run(replaced, X), expected, atol=1e-6)


def test_parameters_before_the_change_are_those_given_at_the_start():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 2))
    earlier = {"1.weight": torch.ones(3, 64)}
    resumable = Resumable(model, X)
    start = resumable.start(earlier, X, {"3.weight"})
    later = {"3.weight": torch.ones(2, 3)}
    expected = torch.func.functional_call(model, {**earlier, **later}, (X,))
    assert torch.allclose(resumable.run(later, start), expected)


def test_only_what_changes_is_computed_again(monkeypatch):
    runs = []
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    resumable = Resumable(model, X)
    run_node = fx.Interpreter.run_node
    monkeypatch.setattr(
        fx.Interpreter,
        "run_node",
        lambda self, node: ("conv2d" in node.name and runs.append(1), run_node(self, node))[1],
    )
    start = resumable.start({}, X, {"2.weight"})
    assert len(runs) == 1
    resumable.run({"2.weight": torch.zeros(3, 72)}, start)
    assert len(runs) == 1


class Unused(nn.Module):
    """A layer that the model holds and never calls."""

    def __init__(self):
        super().__init__()
        self.called, self.never = nn.Linear(64, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.called(x.flatten(1))


def test_a_layer_that_is_never_called_changes_nothing():
    model = Unused()
    resumable = Resumable(model, X)
    changed = {"never.weight": torch.zeros(3, 64)}
    start = resumable.start({}, X, set(changed))
    assert torch.allclose(resumable.run(changed, start), model(X))
